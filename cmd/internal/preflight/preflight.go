// Package preflight tries what the daemons and provision of one machine need, and says what
// is wrong and what to do about it. It changes nothing.
package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
)

// Result is how a check ended.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warning Result = "warning" // it works; somebody should know
	Bad     Result = "fault"   // something does not work, or soon does not
	Untried Result = "not tried"
)

// Finding is what a check found. Where nothing is wrong there is one that says what was seen.
type Finding struct {
	ID      string `json:"id"`    // the same in all versions, as robot.login
	Check   string `json:"check"` // as Harbor's robot
	Result  Result `json:"result"`
	Subject string `json:"subject,omitempty"` // the field of the fleet file, the file or the address that it is about
	What    string `json:"what"`
	Do      string `json:"do,omitempty"`
}

// Part is what of breakwater runs on a machine.
type Part string

// The parts.
const (
	Edge      Part = "edge"
	GSLB      Part = "gslb"
	Provision Part = "provision"
)

// Parts are all of them.
var Parts = []Part{Edge, GSLB, Provision}

// Depth is how much is tried.
type Depth int

// The depths.
const (
	Offline Depth = 1 << iota // files, secrets of files and the environment, the store, ports
	Start                     // what a daemon looks at as it starts
	Whole                     // everything
)

// Config says what to try.
type Config struct {
	Fleet      *fleet.Fleet
	Datacenter string
	For        []Part           // whose needs are tried; none: of all that the fleet file has
	Depth      Depth            // 0: Whole
	Skip       []string         // checks that are left out: an id, or what it begins with
	Roots      []netip.AddrPort // where the chain to the delegated name begins; none: the root servers
	Now        func() time.Time // nil: time.Now
	// Progress is told what is still being tried whenever something has ended; nil: nobody is.
	Progress func(running []string)

	again   time.Duration // how soon a daemon looks again; 0: see there
	running bool          // it has looked before
}

// patience is how long a check may take.
const patience = 8 * time.Second

// check is one thing that is tried.
type check struct {
	id    string // of what it finds when all is well, and the beginning of its other ids
	name  string
	depth Depth  // where it is made, all that apply
	parts []Part // whose need it is
	try   func(ctx context.Context, r *results)
}

// machine is what checks share: the fleet file as this datacenter sees it, and its secrets.
type machine struct {
	Config
	own *fleet.Datacenter
	ids []string // of all checks that there are

	mu      sync.Mutex // of secrets
	secrets *secret.Store
	noVault error // why there are no secrets at all
}

// Run makes all checks beside each other. What they found stands in the order of the
// checks, whatever ended first. The error says why nothing can be tried.
func Run(ctx context.Context, cfg Config) ([]Finding, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Depth = cmp.Or(cfg.Depth, Whole)
	m := &machine{Config: cfg, own: cfg.Fleet.Datacenters[cfg.Datacenter]}
	if m.own == nil {
		return nil, cfg.Fleet.NoDatacenter(cfg.Datacenter)
	}
	m.secrets, m.noVault = secret.New(cfg.Fleet)
	if len(m.For) == 0 {
		m.For = Parts
	}
	checks := m.checks()
	for _, skip := range m.Skip {
		if id, _, _ := strings.Cut(skip, "."); !slices.Contains(m.ids, id) {
			slices.Sort(m.ids)
			return nil, fmt.Errorf("there is no check %q to skip; there are %s", id, strings.Join(slices.Compact(m.ids), ", "))
		}
	}
	return m.run(ctx, checks), nil
}

func (m *machine) run(ctx context.Context, checks []check) (all []Finding) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := make([]*results, len(checks))
	var mu sync.Mutex
	var running sync.WaitGroup
	left := map[int]string{}
	for i, c := range checks {
		left[i] = c.name
	}
	for i, c := range checks {
		r := &results{check: c, skip: m.Skip}
		found[i] = r
		running.Go(func() {
			c.try(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			delete(left, i)
			if m.Progress != nil {
				m.Progress(valuesInOrder(left))
			}
		})
	}
	running.Wait()
	for _, r := range found {
		all = append(all, r.all()...)
	}
	return all
}

func valuesInOrder(m map[int]string) (all []string) {
	for _, i := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[i])
	}
	return all
}

// wants reports whether a check is to be made.
func (m *machine) wants(c check) bool {
	return c.depth&m.Depth != 0 && !skipped(m.Skip, c.id) && slices.ContainsFunc(c.parts, func(p Part) bool { return m.needs(p) })
}

// needs reports whether this machine has that part of breakwater.
func (m *machine) needs(p Part) bool {
	return slices.Contains(m.For, p) && (p != GSLB || m.Fleet.GSLB != nil)
}

func skipped(skip []string, id string) bool {
	return slices.ContainsFunc(skip, func(s string) bool { return id == s || strings.HasPrefix(id, s+".") })
}

// secret is what a reference leads to; ok is false where there is none, of which the check
// of secrets speaks.
func (m *machine) secret(ctx context.Context, ref fleet.Ref) (value string, ok bool) {
	value, err := m.lookUp(ctx, ref)
	return value, err == nil && value != ""
}

func (m *machine) lookUp(ctx context.Context, ref fleet.Ref) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noVault != nil {
		return "", m.noVault
	}
	return m.secrets.Get(ctx, ref)
}

// peersKeys are the keys by which edges know each other; nil where there are none, of which
// the check of secrets speaks.
func (m *machine) peersKeys(ctx context.Context) *keyring.Ring {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noVault != nil {
		return nil
	}
	ring, err := m.secrets.Keys(ctx, "edge.peers", m.Fleet.Edge.Peers.Key, m.Fleet.Edge.Peers.PreviousKey)
	if err != nil {
		return nil
	}
	return ring
}

// text is a plain value, or what its reference leads to.
func (m *machine) text(ctx context.Context, t fleet.Text) (string, bool) {
	if t.Ref.IsZero() {
		return t.Value, t.Value != ""
	}
	return m.secret(ctx, t.Ref)
}

// results gathers what a check finds. It is safe for concurrent use.
type results struct {
	check check
	skip  []string

	mu      sync.Mutex
	said    []string
	untried string // why
	found   []Finding
}

// say tells something that is as it should be.
func (r *results) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, clean(fmt.Sprintf(format, args...)))
}

// cannot tells why the check was not made: what it needs is what another one looks at.
func (r *results) cannot(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untried = why
}

// fault and warn take the last part of the id, what it is about, what is wrong and what to do.
func (r *results) fault(id, subject, what, do string) { r.add(Bad, id, subject, what, do) }
func (r *results) warn(id, subject, what, do string)  { r.add(Warning, id, subject, what, do) }

func (r *results) add(result Result, id, subject, what, do string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, Finding{ID: r.check.id + "." + id, Check: r.check.name, Result: result, Subject: clean(subject), What: clean(what), Do: clean(do)})
}

const longestText = 1000 // bytes: much of it was said by others

// clean is a text for logs and terminals: on one line, and with nothing that steers them.
func clean(text string) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case !unicode.IsGraphic(c):
			return -1
		}
		return c
	}, text)
	if len(text) > longestText {
		return strings.ToValidUTF8(text[:longestText], "") + "…"
	}
	return text
}

// well reports whether nothing was found so far.
func (r *results) well() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.found) == 0
}

// all is what was found, the worst first; what is well where that is all.
func (r *results) all() []Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = slices.DeleteFunc(r.found, func(f Finding) bool { return skipped(r.skip, f.ID) })
	switch {
	case len(r.found) == 0 && r.untried != "":
		return []Finding{{ID: r.check.id, Check: r.check.name, Result: Untried, What: r.untried}}
	case len(r.found) == 0:
		return []Finding{{ID: r.check.id, Check: r.check.name, Result: OK, What: strings.Join(r.said, "; ")}}
	}
	slices.SortStableFunc(r.found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(string(a.Result), string(b.Result)), strings.Compare(a.ID+a.Subject, b.ID+b.Subject))
	})
	return r.found
}

// Worst is the worst result of all.
func Worst(found []Finding) Result {
	worst := OK
	for _, f := range found {
		if f.Result == Bad || f.Result == Warning && worst == OK {
			worst = f.Result
		}
	}
	return worst
}
