package proxy_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/registry"
)

// world is a fleet in one process: three datacenters, each an edge and a Harbor in memory,
// and the network between them. All of it runs in a bubble of testing/synctest: time passes
// when nobody has anything else to do. What clients see is judged by the model.
type world struct {
	t       *testing.T
	ctx     context.Context
	cfg     worldConfig
	edges   []*memEdge
	harbors []*memHarbor
	tags    []string // that clients use; the driver changes them
	model   *model
	roots   *x509.CertPool
	storm   atomic.Bool // single requests and answers are lost, doubled, late
	running atomic.Int64
	clients atomic.Int64

	mu       sync.Mutex
	diceMu   sync.Mutex
	rng      *rand.Rand
	tasks    []func()              // what Harbors have to do
	cuts     map[string]string     // "par1 mad1" → how that way is cut
	troubled time.Time             // when something was down last
	log      []string              // what happened last, of all tags
	noted    map[string]int        // how many lines there were about a tag, without those of pulls
	shown    map[string]string     // what a pull through an edge showed last
	counts   map[string]int        // what was done
	order    map[digest.Digest]int // when a digest was pushed last
	pushes   map[string][]string   // of a tag, the last manifests that were pushed, the last one last
	serial   int
	gone     map[digest.Digest]bool // some Harbor has lost it without a client's will
	tokens   map[string]string
	broken   error
	lasted   time.Duration
}

type worldConfig struct {
	seed         uint64
	steps        int
	content      bool // Harbors' replication brings content, and never writes a tag
	copies       bool // the last datacenter's Harbor is not to hold what is pushed elsewhere
	certificates bool // edges know each other by certificates, and their clocks differ by minutes; else by a key, and by seconds
	webhooks     bool
	jumps        bool   // each start of an edge finds another clock
	small        bool   // the edges are small ones
	flaw         string // of small edges; "": none
}

func (c worldConfig) String() string {
	return fmt.Sprintf("seed=%d content=%v copies=%v certificates=%v webhooks=%v", c.seed, c.content, c.copies, c.certificates, c.webhooks)
}

// homes are the datacenters whose Harbors are to hold all.
func (c worldConfig) homes() []string {
	if c.copies {
		return worldDatacenters[:len(worldDatacenters)-1]
	}
	return nil
}

// namespace is the project of all repos, as the edge of a datacenter has it.
func (c worldConfig) namespace(datacenter string) namespace.Namespace {
	return namespace.Namespace{Project: worldProject, Kind: namespace.MultiDC}.HeldAt(c.homes(), datacenter)
}

// away reports whether a datacenter's Harbor is not to hold what is pushed elsewhere.
func (c worldConfig) away(datacenter string) bool { return c.namespace(datacenter).Away }

const keptLines = 4000

var (
	worldDatacenters = []string{"par1", "mad1", "drp1"}
	worldRepos       = []string{worldProject + "/app", worldProject + "/lib"}
)

// newWorld starts a fleet.
func newWorld(t *testing.T, cfg worldConfig) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, cfg: cfg, model: newModel(), rng: rand.New(rand.NewPCG(cfg.seed, 1)), cuts: map[string]string{}, counts: map[string]int{}, order: map[digest.Digest]int{},
		pushes: map[string][]string{}, gone: map[digest.Digest]bool{}, tokens: map[string]string{},
		noted: map[string]int{}, shown: map[string]string{}}
	signer, err := worldAuthority()
	if err != nil {
		t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AddCert(signer.certificate)
	for _, name := range worldDatacenters {
		e := &memEdge{w: w, name: name, skew: w.skew(), dir: quickDir(t), small: newSmallMemory()}
		if cfg.certificates {
			if e.certificate, err = signer.sign(name); err != nil {
				t.Fatal(err)
			}
		}
		w.harbors, w.edges = append(w.harbors, newMemHarbor(w, name)), append(w.edges, e)
	}
	for _, e := range w.edges {
		e.start(t)
	}
	return w
}

// close ends the fleet, and waits until nothing of it runs.
func (w *world) close() {
	w.heal()
	for _, e := range w.edges {
		e.close(w.t, e.life.Load())
	}
	w.idle()
}

func (w *world) skew() time.Duration {
	most := 14 * time.Second // a peer's token is good for clocks that differ by 30 s
	if w.cfg.certificates {
		most = 5 * time.Minute
	}
	return time.Duration(w.dice(int(2*most))) - most
}

func (w *world) edge(name string) *memEdge { return w.edges[slices.Index(worldDatacenters, name)] }

func (w *world) harbor(name string) *memHarbor {
	return w.harbors[slices.Index(worldDatacenters, name)]
}

// dice returns a number below n.
func (w *world) dice(n int) int {
	w.diceMu.Lock()
	defer w.diceMu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what] += n
}

// note keeps a line about a tag, for the case that a rule about it is broken.
func (w *world) note(tag, format string, args ...any) {
	line := fmt.Sprintf("%s %s ", time.Now().Format("15:04:05.000"), tag) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noted[tag]++
	if w.log = append(w.log, line); len(w.log) > 2*keptLines {
		w.log = slices.Clone(w.log[keptLines:])
	}
}

func (w *world) noteAll(format string, args ...any) { w.note("*", format, args...) }

// fail notes the first rule that is broken.
func (w *world) fail(tag string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fmt.Errorf("%s: %w\n%s\n%s", tag, err, w.history(tag), w.ledgers(tag))
	}
}

// ledgers is what the edges have written down of a tag's repo.
func (w *world) ledgers(tag string) string {
	var all strings.Builder
	repo, _, _ := strings.Cut(tag, ":")
	for _, e := range w.edges {
		if l := e.life.Load(); l != nil && l.state != nil {
			l.state.EachVersioned(repo+"\x00", func(key string, value []byte) {
				fmt.Fprintf(&all, "edge %s: %q: %s\n", e.name, key, value)
			})
		}
	}
	return all.String()
}

// history is what happened to a tag; w.mu is held.
func (w *world) history(tag string) string {
	var lines []string
	for _, line := range w.log {
		if _, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, "*") || strings.HasPrefix(rest, tag+" ") {
			lines = append(lines, line)
		}
	}
	return "what happened last, by the fleet's clock:\n" + strings.Join(lines[max(0, len(lines)-200):], "\n")
}

func (w *world) isBroken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

func (w *world) pushOrder(d digest.Digest) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.order[d]
}

// lost notes that a Harbor has lost a manifest though no client deleted it.
func (w *world) lost(d digest.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone[d] = true
}

func (w *world) wasLost(d digest.Digest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone[d]
}

func (w *world) allTags() (all []string) {
	for _, repo := range worldRepos {
		for _, tag := range w.tags {
			all = append(all, repo+":"+tag)
		}
	}
	return all
}

// aside runs something beside the driver.
func (w *world) aside(do func()) {
	w.running.Add(1)
	go func() {
		defer w.running.Add(-1)
		do()
	}()
}

// idle waits until nothing is under way any more.
func (w *world) idle() {
	for range 10_000 {
		if synctest.Wait(); w.running.Load() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.fail("*", errors.New("requests are under way that do not end"))
}

// tokenFor is Harbor's token for a user, as its token service gives it.
func (w *world) tokenFor(user string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if token, ok := w.tokens[user]; ok {
		return token
	}
	key, err := sharedKey()
	if err != nil {
		panic(err)
	}
	actions := []string{"pull", "push", "delete"}
	if user == reader {
		actions = actions[:1]
	}
	var access []registry.Access
	for _, repo := range worldRepos {
		access = append(access, registry.Access{Type: "repository", Name: repo, Actions: actions})
	}
	now := time.Now()
	claims := jwt.MapClaims{"iss": "harbor-token-issuer", "sub": user, "aud": registry.HarborService, "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(1000 * time.Hour).Unix(), "access": access}
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		panic(err)
	}
	w.tokens[user] = token
	return token
}

// report is what was done, as one line a thing.
func (w *world) report() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		lines = append(lines, fmt.Sprintf("%7d %s", w.counts[what], what))
	}
	return strings.Join(lines, "\n")
}

// run lets a fleet run for as many steps as asked for, or until a rule is broken.
func run(t *testing.T, cfg worldConfig) (w *world, steps int, err error) {
	t.Helper()
	if _, err := sharedKey(); err != nil { // it is made outside the bubble
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, cfg)
		d, began := driver{world: w}, time.Now()
		for d.step < cfg.steps && w.isBroken() == nil {
			d.cycle()
		}
		w.close()
		steps, w.lasted = d.step, time.Since(began)
	})
	return w, steps, w.isBroken()
}
