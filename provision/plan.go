package provision

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// Actions of a change.
const (
	Create = "create"
	Update = "update"
	Delete = "delete"
	Refuse = "refuse" // it would have to be replaced, and nothing is replaced silently
)

// FieldChange is one property that a change gives another value. Secrets are never in it.
type FieldChange struct {
	Name string `json:"name"`
	Have string `json:"have,omitempty"`
	Want string `json:"want"`
}

// Text is the change as "have -> want"; of long lists what comes and what goes.
func (f FieldChange) Text() string {
	have, want := strings.Split(f.Have, ", "), strings.Split(f.Want, ", ")
	if max(len(f.Have), len(f.Want)) < longField || max(len(have), len(want)) < 3 {
		return cmp.Or(f.Have, "(nothing)") + " -> " + cmp.Or(f.Want, "(nothing)")
	}
	var parts []string
	for _, side := range []struct {
		sign      string
		all, from []string
	}{{"+ ", want, have}, {"- ", have, want}} {
		var only []string
		for _, v := range side.all {
			if !slices.Contains(side.from, v) {
				only = append(only, v)
			}
		}
		if len(only) > 0 {
			parts = append(parts, side.sign+strings.Join(only, ", "))
		}
	}
	stay := slices.DeleteFunc(want, func(v string) bool { return !slices.Contains(have, v) })
	return fmt.Sprintf("%s (%d stay)", strings.Join(parts, "; "), len(stay))
}

const longField = 80 // characters, from which on a list is shown as what changes of it

// Change is one object that is not as the fleet file says.
type Change struct {
	Key
	Action string        `json:"action"` // create, update, delete or refuse
	Fields []FieldChange `json:"fields,omitempty"`
	Why    string        `json:"why,omitempty"`

	want   object
	have   *entry
	secret string
	needs  []Key
	resets bool // the secret is written again

	replaced bool       // it goes because something took its place
	proves   []covering // what is seen before it goes
}

// Fault is something that keeps a part of the fleet from being planned or done.
type Fault struct {
	Datacenter string `json:"datacenter"`
	Message    string `json:"message"`
	Away       bool   `json:"away"` // nobody answers: a later run may do better. Else a person must act
}

func (f Fault) String() string { return f.Datacenter + ": " + f.Message }

// Plan is what would change, and what is only said.
type Plan struct {
	Changes []Change `json:"changes"`
	Faults  []Fault  `json:"faults,omitempty"` // datacenters that could not be read: the rest is planned without them
	Notes   []string `json:"notes,omitempty"`  // what a person should know, and no change mends
	Unseen  []Key    `json:"unseen,omitempty"` // what Harbors did not show this account: it is left alone
	Objects int      `json:"objects"`          // wanted of all datacenters
	Read    int      `json:"read"`             // of them, those that could be read
	Calls   int64    `json:"calls"`            // to the Harbors' management APIs
	Proofs  int64    `json:"proofs"`           // logins of robots and pings of registries
	Proven  int      `json:"proven"`           // secrets that are the fleet file's
	Unsure  int      `json:"unproven"`         // secrets of which that could not be found out: the notes say why

	want   *wanted
	have   map[string]*having
	notes  []note          // those of Notes that are of objects, in their order
	going  map[Key]bool    // what something took the place of
	logins map[login][]Key // the registries that log in as somebody
}

// note is what a person should know of an object.
func (p *Plan) note(k Key, format string, args ...any) {
	p.notes = append(p.notes, note{k, fmt.Sprintf(format, args...)})
	p.Notes = append(p.Notes, p.notes[len(p.notes)-1].String())
}

// ShortNotes are the notes for a person to read: what is the same of many objects is said once.
func (p *Plan) ShortNotes() []string { return append(folded(p.notes), p.Notes[len(p.notes):]...) }

// compareAll is the plan: what is wanted against what is had. It is a pure function.
func compareAll(want *wanted, have map[string]*having, rewrite, prune bool) *Plan {
	p := &Plan{want: want, have: have, Changes: []Change{}, Objects: len(want.objects)}
	for _, k := range slices.SortedFunc(maps.Keys(want.objects), Key.compare) {
		if h := have[k.Datacenter]; h != nil {
			p.Read++
			p.compare(k, h, rewrite)
		}
	}
	after := want.successors()
	p.keep(after)
	p.replaced(have, after)
	p.moved()
	for _, datacenter := range sortedKeys(have) {
		h := have[datacenter]
		if h.silent && slices.ContainsFunc(slices.Collect(maps.Keys(want.objects)), func(k Key) bool { return k.Datacenter == datacenter && k.Kind == kindWebhook }) {
			p.note(Key{Datacenter: datacenter}, "webhooks are switched off in this Harbor's configuration (notification_enable): its edge is told nothing")
		}
		p.extra(h, prune)
		if h.shallow {
			p.note(Key{Datacenter: datacenter}, "more than %d projects are managed: what others have put into them is seen only where the fleet file wants something of the kind", lookedInto)
		}
	}
	slices.SortStableFunc(p.Changes, func(a, b Change) int { return strings.Compare(a.Datacenter, b.Datacenter) })
	return p
}

func (p *Plan) compare(k Key, h *having, rewrite bool) {
	want, secret := p.want.objects[k], p.want.secrets[k]
	if h.noPreheat != 0 && (k.Kind == kindInstance || k.Kind == kindPreheat) {
		p.without(k, h.noPreheat)
		return
	}
	c := Change{Key: k, want: want, have: h.get(k.Kind, k.Name), secret: secret, needs: p.want.needs[k], Action: Update}
	if c.have == nil && k.Kind == kindConfiguration {
		p.Read--
		p.Unseen = append(p.Unseen, k)
		p.note(k, "this account may not see it, so it is left alone")
		return
	}
	if c.have == nil {
		c.Action = Create
		for _, f := range want.fields() {
			c.Fields = append(c.Fields, FieldChange{Name: f.name, Want: f.value})
		}
		if secret != "" {
			c.Fields = append(c.Fields, FieldChange{Name: "secret", Want: "(as the fleet file says)"})
		}
		c.occupied(h)
		p.Changes = append(p.Changes, c)
		return
	}
	had := map[string]string{}
	for _, f := range c.have.fields() {
		had[f.name] = f.value
	}
	for _, f := range want.fields() {
		if _, said := had[f.name]; !said && (f.name == fieldSingle || f.name == fieldByChunk || f.name == fieldKeeps) {
			continue
		}
		if had[f.name] != f.value {
			c.Fields = append(c.Fields, FieldChange{f.name, had[f.name], f.value})
			if f.name == fieldType || f.name == fieldRegistry {
				c.Action, c.Why = Refuse, "Harbor cannot change it, and replacing it would lose what hangs on it; delete it by hand, or write it as it is"
			}
		}
	}
	if c.have.broken {
		c.Why = "the project names one that is gone"
	}
	if rb, ok := want.(*robot); ok {
		if lost := rb.lost(c.have.object.(*robot)); len(lost) > 0 {
			c.Why = "it does not cover " + few(lost) + ": Harbor skips in pulls what it does not, and says Succeed"
		}
	}
	p.compareSecret(&c, rewrite)
	c.occupied(h)
	if len(c.Fields) > 0 {
		p.Changes = append(p.Changes, c)
	}
}

// compareSecret says whether the secret is written again.
func (p *Plan) compareSecret(c *Change, rewrite bool) {
	const ours = "(as the fleet file says)"
	switch {
	case c.secret == "":
	case rewrite:
		c.Fields, c.resets = append(c.Fields, FieldChange{"secret", "(whatever it is)", ours}), true
	case c.have.secret == differs && p.hasSuccessor(c.Key):
		p.note(c.Key, "it has its old secret, and a successor beside it has the new one; rotate --finish ends that")
	case c.have.secret == differs:
		c.Fields, c.resets = append(c.Fields, FieldChange{"secret", "(another one)", ours}), true
	case c.Kind == kindConfiguration && len(c.Fields) > 0:
		// It cannot be read nor tried: whenever something of it changes it is written too.
		c.Fields, c.resets = append(c.Fields, FieldChange{"oidc_client_secret", "(Harbor does not say)", ours}), true
	case c.Kind == kindConfiguration:
	case c.have.secret == proven:
		p.Proven++
	case c.have.secret == unproven && c.have.whyNot != "":
		p.Unsure++
		p.note(c.Key, "its secret could not be proven: %s", c.have.whyNot)
	}
}

// hasSuccessor reports whether a rotation of the robot has begun and not ended.
func (p *Plan) hasSuccessor(k Key) bool {
	for other, e := range p.have[k.Datacenter].entries {
		rb, ok := e.object.(*robot)
		if ok && k.Kind == kindRobot && strings.HasPrefix(other.Name, k.Name+"-") && strings.HasPrefix(rb.description, successorOf) {
			return true
		}
	}
	return false
}

// extra is what a Harbor has beside what is wanted: what carries our mark is pruned
// on demand, projects are only reported.
func (p *Plan) extra(h *having, prune bool) {
	for _, k := range slices.SortedFunc(maps.Keys(h.entries), Key.compare) {
		e := h.entries[k]
		if p.want.objects[k] != nil || p.going[k] {
			continue
		}
		ours := false
		switch o := e.object.(type) {
		case *project:
			if naming.KindOf(k.Name) != "" {
				p.note(k, "it is not in the fleet file; it is left alone, as projects always are")
			}
		case *registry:
			ours = strings.HasSuffix(o.description, mark) && !h.caches(k.Name)
		default:
			ours = strings.HasSuffix(descriptionOf(o), mark)
		}
		needed := ""
		if rb, ok := e.object.(*robot); ok && ours {
			needed = p.needed(k, rb)
		}
		if k.Kind == kindInstance && ours {
			needed = p.preheating(h, k)
		}
		switch {
		case needed != "":
			p.note(k, "%s", needed)
		case ours && prune:
			p.Changes = append(p.Changes, Change{Key: k, Action: Delete, have: e, Why: p.whyExtra(k, e.object), needs: p.users(h, k)})
		case ours:
			p.note(k, "%s; --prune deletes it", p.whyExtra(k, e.object))
		default:
			if note := p.foreign(h, k, e.object); note != "" {
				p.note(k, "%s", note)
			}
		}
	}
}

// needed says why a robot of ours stays that is not in the fleet file; "": it need not.
// A rotation made it, and somebody logs in as it now.
func (p *Plan) needed(k Key, rb *robot) string {
	base := *rb
	if of, ok := strings.CutPrefix(strings.TrimSuffix(rb.description, " "+mark), successorOf+" "); ok {
		base.name = of
		at := Key{k.Datacenter, k.Kind, base.key()}
		if old := p.have[k.Datacenter].get(at.Kind, at.Name); p.want.objects[at] != nil && (old == nil || old.secret != proven) {
			return "users move to it; once rotate --finish has given " + of + " the new secret, --prune deletes it"
		}
		return ""
	}
	var next bool
	if base.name, next = strings.CutSuffix(rb.name, nextSuffix); !next || p.want.objects[Key{k.Datacenter, k.Kind, base.key()}] == nil {
		return ""
	}
	for _, at := range slices.SortedFunc(maps.Keys(p.want.objects), Key.compare) {
		if at.Kind != kindRegistry || at.Name != p.want.peersRegistry(rb, k.Datacenter) { // as peers know this Harbor
			continue
		}
		h := p.have[at.Datacenter]
		if h == nil {
			return fmt.Sprintf("%s may still log in as it, and is not read", at.Datacenter)
		}
		if e := h.get(at.Kind, at.Name); e != nil && strings.HasSuffix(e.object.(*registry).user, k.Name) {
			return fmt.Sprintf("%s logs in as it until its registry is mended; the next run may delete it", at.Datacenter)
		}
	}
	return ""
}

// caches reports whether a project is a cache of the registry: it keeps it, as an
// Artifactory that lists less than it did must not take anything away.
func (h *having) caches(registry string) bool {
	for _, e := range h.entries {
		if p, ok := e.object.(*project); ok && p.registry == registry {
			return true
		}
	}
	return false
}

// users are the policies that hold a registry, or the registries that log in as a robot,
// which go first.
func (p *Plan) users(h *having, k Key) (all []Key) {
	if k.Kind == kindRobot {
		for _, from := range sortedKeys(p.have) {
			all = append(all, p.loggingIn(k, from)...)
		}
		return all
	}
	for user, e := range h.entries {
		if k.Kind == kindInstance && user.Kind == kindPreheat {
			all = append(all, user)
		}
		if o, ok := e.object.(*policy); ok && k.Kind == kindRegistry && (o.from == k.Name || o.to == k.Name) {
			all = append(all, user)
		}
	}
	return all
}

// changed are the datacenters whose Harbors the plan changes.
func (p *Plan) changed() (all []string) {
	for _, c := range p.Changes {
		if c.Datacenter != atArtifactory && !slices.Contains(all, c.Datacenter) {
			all = append(all, c.Datacenter)
		}
	}
	slices.Sort(all)
	return all
}

// Refused is an error where a Harbor gave an answer that no later run changes, as to a
// wrong password; nil where all were read, or nobody answers.
func (p *Plan) Refused() error {
	var errs []error
	for _, f := range Together(slices.DeleteFunc(slices.Clone(p.Faults), func(f Fault) bool { return f.Away })) {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// Hidden is an error where Harbors did not show what the fleet file wants: an apply leaves
// it alone, and has not made it as the file says.
func (p *Plan) Hidden() error {
	var hidden []Fault
	for _, k := range p.Unseen {
		hidden = append(hidden, Fault{Datacenter: k.Datacenter, Message: fmt.Sprintf("%s %s was left alone, as this account may not see it: log in as an administrator, or leave it out of the fleet file", k.Kind, k.Name)})
	}
	var errs []error
	for _, f := range Together(hidden) {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// Together joins faults that say the same of several datacenters.
func Together(faults []Fault) (all []Fault) {
	for _, f := range faults {
		i := slices.IndexFunc(all, func(o Fault) bool { return o.Message == f.Message && o.Away == f.Away })
		if i < 0 {
			all = append(all, f)
		} else {
			all[i].Datacenter += ", " + f.Datacenter
		}
	}
	return all
}

// pruned is how many objects are deleted that nothing takes the place of.
func (p *Plan) pruned() (n int) {
	for _, c := range p.Changes {
		if c.Action == Delete && !c.replaced {
			n++
		}
	}
	return n
}

// Count is how many changes are of the action.
func (p *Plan) Count(action string) (n int) {
	for _, c := range p.Changes {
		if c.Action == action {
			n++
		}
	}
	return n
}
