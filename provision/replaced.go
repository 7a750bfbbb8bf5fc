package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/breakwater/internal/naming"
)

// direction is one way between a datacenter and a peer.
type direction struct{ datacenter, word, peer string }

// Words in the names of replications.
const (
	wordFrom = "from"
	wordTo   = "to"
)

// directionOf reads the name of a replication between datacenters.
func directionOf(k Key) (of direction, ok bool) {
	words := strings.Fields(k.Name)
	if k.Kind != kindPolicy || len(words) < 3 || words[1] != wordFrom && words[1] != wordTo || words[0] != groups && !strings.HasPrefix(words[0], naming.MultiDC) {
		return of, false
	}
	return direction{k.Datacenter, words[1], words[2]}, true
}

// successors are the wanted replications between datacenters: of each direction those of
// each project.
type successors map[direction]map[string]Key

func (d *wanted) successors() successors {
	all := successors{}
	for k, o := range d.objects {
		of, ok := directionOf(k)
		if !ok {
			continue
		}
		if all[of] == nil {
			all[of] = map[string]Key{}
		}
		for _, project := range o.(*policy).projects() {
			all[of][project] = k
		}
	}
	return all
}

// replaced finds what of a Harbor goes because something has taken its place: replications
// first, then the registries that they had, then the robots at the peers. It goes without
// --prune: the fleet file has its projects, and says how they are replicated. The plan has
// changes for all of it that may go.
func (p *Plan) replaced(have map[string]*having, after successors) {
	going := map[Key]bool{}
	var users map[Key][]Key
	users, p.logins = p.uses(have)
	for _, datacenter := range sortedKeys(have) {
		h := have[datacenter]
		for _, k := range slices.SortedFunc(maps.Keys(h.entries), Key.compare) {
			if o, ok := h.entries[k].object.(*policy); ok && p.leftOver(k, o.description) {
				p.replacePolicy(after, k, o, h.entries[k], going)
			}
		}
		for _, k := range slices.SortedFunc(maps.Keys(h.entries), Key.compare) {
			if o, ok := h.entries[k].object.(*registry); ok && p.leftOver(k, o.description) {
				p.replaceRegistry(after, k, h, users[k], going)
			}
		}
	}
	for _, datacenter := range sortedKeys(have) {
		for _, k := range slices.SortedFunc(maps.Keys(have[datacenter].entries), Key.compare) {
			if o, ok := have[datacenter].entries[k].object.(*robot); ok && p.leftOver(k, o.description) {
				p.replaceRobot(after, k, o, going)
			}
		}
	}
	p.going = going
}

// leftOver reports whether something carries our mark and is wanted no more.
func (p *Plan) leftOver(k Key, description string) bool {
	return strings.HasSuffix(description, mark) && p.want.objects[k] == nil
}

// replacePolicy has a replication go once its successors are there, which are proven before:
// what the robot at the peer does not cover a Harbor would skip, and say Succeed.
func (p *Plan) replacePolicy(after successors, k Key, o *policy, e *entry, going map[Key]bool) {
	of, ok := directionOf(k)
	if !ok {
		return
	}
	c := Change{Key: k, Action: Delete, have: e, replaced: true}
	var names []string
	needed := map[Key]bool{}
	for _, project := range o.projects() {
		if p.want.objects[Key{k.Datacenter, kindProject, project}] == nil {
			continue // it is not in the fleet file any more
		}
		by, ok := after[of][project]
		if !ok {
			continue // it is not to be replicated so any more
		}
		rule := p.want.objects[by].(*policy)
		at := Key{k.Datacenter, kindRegistry, rule.from + rule.to}
		for _, need := range append([]Key{by, at}, p.want.needs[at]...) {
			if !needed[need] {
				needed[need], c.needs = true, append(c.needs, need)
			}
		}
		c.proves = append(c.proves, covering{p.want.needs[at][0], project})
		if !slices.Contains(names, by.Name) {
			names = append(names, by.Name)
		}
	}
	if c.proves == nil {
		return
	}
	if p.have[of.peer] == nil {
		p.note(k, "it has a successor; it stays until %s is read, too", of.peer)
		return
	}
	if c.Why = few(names) + " take its place"; len(names) == 1 {
		c.Why = names[0] + " takes its place"
	}
	going[k] = true
	p.Changes = append(p.Changes, c)
}

// replaceRegistry has a registry go that no replication has any more.
func (p *Plan) replaceRegistry(after successors, k Key, h *having, users []Key, going map[Key]bool) {
	from, to := direction{k.Datacenter, wordFrom, p.peerOf(k)}, direction{k.Datacenter, wordTo, p.peerOf(k)}
	if len(after[from])+len(after[to]) == 0 || h.caches(k.Name) {
		return
	}
	c := Change{Key: k, Action: Delete, have: h.entries[k], replaced: true, Why: "no replication needs it any more", needs: users}
	for _, user := range c.needs {
		if !going[user] {
			return
		}
	}
	going[k] = true
	p.Changes = append(p.Changes, c)
}

// peerOf is the datacenter that a registry of ours leads to; "": it is no registry between
// datacenters, or of a project that the fleet file does not have any more.
func (p *Plan) peerOf(k Key) string {
	if peer, ok := strings.CutPrefix(k.Name, groups+"."); ok {
		return peer
	}
	for peer := range p.want.fleet.Datacenters {
		if p.between(k, peer) != "" {
			return peer
		}
	}
	return ""
}

// between is the project, by its name in the fleet file, that a registry replicates with a peer;
// "": none that is to be at its datacenter.
func (p *Plan) between(k Key, peer string) string {
	of, ok := strings.CutSuffix(k.Name, "-"+peer)
	name, ours := strings.CutPrefix(of, naming.MultiDC)
	if !ok || !ours || p.want.objects[Key{k.Datacenter, kindProject, p.want.fleet.Project(naming.MultiDC, name)}] == nil {
		return ""
	}
	return name
}

// whyExtra says why something of ours is not wanted any more.
func (p *Plan) whyExtra(k Key, o object) string {
	f := p.want.fleet
	elsewhere := func(name string) bool { return f.Homes(name) != nil }
	apart := false
	switch o := o.(type) {
	case *policy:
		of, ok := directionOf(k)
		apart = ok && f.Datacenters[of.peer] != nil && slices.ContainsFunc(o.projects(), func(full string) bool {
			name, _ := f.MultiDC(full)
			return elsewhere(name)
		})
	case *registry:
		if peer := p.peerOf(k); f.Datacenters[peer] != nil {
			apart = k.Name == groupedRegistry(peer) && slices.ContainsFunc(sortedKeys(f.Projects.MultiDC.Items), elsewhere) || elsewhere(p.between(k, peer))
		}
	}
	if apart {
		return "what it replicates has other homes (copies)"
	}
	return "it is not in the fleet file any more"
}

// replaceRobot has a robot go as which nobody replicates any more: the last of all, as
// whoever holds its secret is refused then.
func (p *Plan) replaceRobot(after successors, k Key, rb *robot, going map[Key]bool) {
	base := Key{k.Datacenter, kindRobot, strings.TrimSuffix(k.Name, nextSuffix)}
	ofGroups, ofProject := rb.project == "" && rb.description == marked(groupsOwn), base.Name == rb.project+"+"+syncRobot && p.want.objects[Key{k.Datacenter, kindProject, rb.project}] != nil
	if !ofGroups && !ofProject || p.want.objects[base] != nil { // the latter is a rotation's
		return
	}
	peers := slices.DeleteFunc(sortedKeys(p.want.fleet.Datacenters), func(peer string) bool { return peer == k.Datacenter })
	if !slices.ContainsFunc(peers, func(peer string) bool {
		from := after[direction{peer, wordFrom, k.Datacenter}]
		return len(from) > 0 && (rb.project == "" || from[rb.project] != Key{})
	}) {
		return // it is not replicated any more at all
	}
	c := Change{Key: k, Action: Delete, have: p.have[k.Datacenter].entries[k], replaced: true, Why: "nobody replicates as it any more"}
	for _, peer := range peers {
		if p.have[peer] == nil {
			p.note(k, "nobody is to replicate as it any more; it stays until %s is read, too", peer)
			return
		}
		for _, at := range p.loggingIn(k, peer) {
			if !going[at] && p.want.objects[at] == nil {
				p.note(k, "nobody is to replicate as it any more, and %s logs in as it", at)
				return
			}
			c.needs = append(c.needs, at)
		}
	}
	going[k] = true
	p.Changes = append(p.Changes, c)
}

// login is as whom registries of a datacenter log in where; nowhere in particular where the
// address is no Harbor's of the fleet as it is now.
type login struct{ user, address, from string }

// uses are the replications that have a registry, and the registries that log in as somebody.
func (p *Plan) uses(have map[string]*having) (users map[Key][]Key, logins map[login][]Key) {
	known := map[string]bool{}
	for name := range p.want.fleet.Datacenters {
		known[p.harborOf(name)] = true
	}
	users, logins = map[Key][]Key{}, map[login][]Key{}
	for datacenter, h := range have {
		for _, k := range slices.SortedFunc(maps.Keys(h.entries), Key.compare) {
			switch o := h.entries[k].object.(type) {
			case *policy:
				at := Key{datacenter, kindRegistry, o.from + o.to}
				users[at] = append(users[at], k)
			case *registry:
				as := login{o.user, strings.TrimRight(o.url, "/"), datacenter}
				if !known[as.address] {
					as.address = ""
				}
				logins[as] = append(logins[as], k)
			}
		}
	}
	return users, logins
}

func (p *Plan) harborOf(datacenter string) string {
	return strings.TrimRight(string(p.want.fleet.Datacenters[datacenter].Harbor), "/")
}

// loggingIn are the registries of a datacenter that log in as a robot of another one, or may.
func (p *Plan) loggingIn(robot Key, from string) []Key {
	user := p.have[robot.Datacenter].prefix + robot.Name
	return slices.Concat(p.logins[login{user, p.harborOf(robot.Datacenter), from}], p.logins[login{user, "", from}])
}

// keep has a replication keep a project until the one is there that it goes to, as where
// the project is to be pulled more seldom than the others. Of two that exchange projects
// neither can wait for the other.
func (p *Plan) keep(after successors) {
	goes := func(c *Change) (to []Key) {
		of, ok := directionOf(c.Key)
		if !ok || c.Action != Update {
			return nil
		}
		for _, project := range c.have.object.(*policy).projects() {
			if by, ok := after[of][project]; ok && by != c.Key && !slices.Contains(to, by) {
				to = append(to, by)
			}
		}
		return to
	}
	loses := map[Key]bool{}
	for i := range p.Changes {
		loses[p.Changes[i].Key] = len(goes(&p.Changes[i])) > 0
	}
	for i := range p.Changes {
		for _, by := range goes(&p.Changes[i]) {
			if !loses[by] {
				p.Changes[i].needs = append(slices.Clone(p.Changes[i].needs), by)
			}
		}
	}
}

// covering is a project that a robot is to cover.
type covering struct {
	robot   Key
	project string
}

// ShortChanges are the changes for a person to read: of what goes because the same took its
// place it is said once.
func (p *Plan) ShortChanges() (all []Change) {
	type same struct{ datacenter, kind, why string }
	at, names := map[same]int{}, map[same][]string{}
	for _, c := range p.Changes {
		s := same{c.Datacenter, c.Kind, c.Why}
		if names[s] = append(names[s], c.Name); !c.replaced || len(names[s]) == 1 {
			at[s] = len(all)
			all = append(all, c)
			continue
		}
		all[at[s]].Name = few(names[s])
	}
	return all
}

// moved says what goes because something took its place.
func (p *Plan) moved() {
	count := map[string]map[string]int{}
	for _, c := range p.Changes {
		if c.replaced {
			if count[c.Datacenter] == nil {
				count[c.Datacenter] = map[string]int{}
			}
			count[c.Datacenter][c.Kind]++
		}
	}
	for _, datacenter := range sortedKeys(count) {
		n := count[datacenter]
		p.note(Key{Datacenter: datacenter}, "%s, %s and %s go, each after what takes its place is there and was seen to cover its projects", Counted(n[kindPolicy], "replication"), plural(n[kindRegistry], "registry", "registries"), Counted(n[kindRobot], "robot"))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// lost are the projects in which a robot that replicates may less than it is to.
func (r *robot) lost(have *robot) (projects []string) {
	if r.description != marked(groupsOwn) {
		return nil
	}
	for _, g := range r.grants {
		if !slices.ContainsFunc(have.grants, func(h grant) bool {
			return h.namespace == g.namespace && h.resource == g.resource && h.action == g.action
		}) && !slices.Contains(projects, g.namespace) {
			projects = append(projects, g.namespace)
		}
	}
	return projects
}
