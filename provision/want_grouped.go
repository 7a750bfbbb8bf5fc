package provision

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// groups is how the names of what replicates many projects begin. No project and no
// registry of a project is called so: theirs begin with naming.MultiDC.
const groups = "multi-dc"

// groupsOwn is the description of the robot as which Harbors replicate in groups.
const groupsOwn = "Replicates between datacenters"

// maxFilters is how many characters the filters of a replication may have as JSON: Harbor
// keeps them in a column of that many (filters varchar(1024) of its table replication_policy),
// and says 500 to more.
const maxFilters = 1024

// replicates is what a robot may in projects that it replicates: push where it is the
// destination, pull and list where it is the source.
const replicates = "repository:push repository:pull repository:list artifact:list"

// groupedRegistry is the name of the registry by which a peer is known for all projects.
func groupedRegistry(peer string) string { return groups + "." + peer }

// peersRegistry is the name of the registry by which others know the Harbor of a robot that
// replicates.
func (d *wanted) peersRegistry(rb *robot, datacenter string) string {
	if rb.project == "" {
		return groupedRegistry(datacenter)
	}
	name, _ := d.fleet.MultiDC(rb.project)
	return betweenOf(name) + "-" + datacenter
}

// way is how projects are replicated in one direction. Those of one way share replications.
type way struct {
	every           time.Duration // of pulls; 0: on events
	tags            string        // fleet.TagsEdges or fleet.TagsHarbor
	override        bool
	single, byChunk string // as policies have them
	own             bool   // they have names of their own: one filter takes those, another the ones by prefix
}

// wayOf is how a project is replicated at a datacenter: from a peer, or to it.
func (w *wanting) wayOf(m *fleet.MultiDC, datacenter, peer string, pulls bool) way {
	here := m.In(datacenter)
	out := way{tags: here.Replication.Tags, byChunk: saidBool(here.Replication.ByChunk), own: m.Project != ""}
	if !pulls {
		out.override = moves(m, datacenter)
		return out
	}
	out.every, out.single, out.override = time.Duration(here.Replication.Pull), saidBool(here.Replication.Single), moves(m, peer)
	return out
}

// except is what differs from how projects are replicated that say nothing of it
// themselves, as " (every 1h, tags: harbor)"; "" where nothing does.
func (a way) except(usual way) string {
	var all []string
	say := func(differs bool, format string, args ...any) {
		if differs {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	say(a.own, "names of their own")
	say(a.every != usual.every, "every %v", fleet.Duration(a.every))
	say(a.tags != usual.tags, "tags: %s", a.tags)
	say(a.override != usual.override, "override: %t", a.override)
	say(a.single != usual.single, "single_active: %s", a.single)
	say(a.byChunk != usual.byChunk, "copy_by_chunk: %s", a.byChunk)
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// wantGroups wants the robot as which the others replicate, and for each other datacenter a
// registry and the replications of all projects that go between the two.
func (w *wanting) wantGroups(d *wanted, datacenter string) {
	names := sortedKeys(w.fleet.Projects.MultiDC.Items)
	if len(names) == 0 {
		return
	}
	k, rb := w.groupsRobot(datacenter)
	var projects []Key
	for _, name := range names {
		project := w.fleet.Project(naming.MultiDC, name)
		projects = append(projects, Key{datacenter, kindProject, project})
		rb.grants = append(rb.grants, grantsOf(project, replicates)...)
	}
	d.add(k, rb, projects...)
	d.secrets[k] = w.secret(w.fleet.Harbor.SyncRobot.Secret, "")
	w.checkSecret(d, k)
	homes := homesByProject(w.fleet, names)
	for _, peer := range sortedKeys(w.fleet.Datacenters) {
		w.wantGroupsOf(d, datacenter, peer, homes)
	}
}

// groupsRobot is the robot as which others replicate, which may nothing yet.
func (w *wanting) groupsRobot(datacenter string) (Key, *robot) {
	name := w.fleet.Harbor.SyncRobot.Name
	return Key{datacenter, kindRobot, name}, &robot{name: name, duration: -1, description: marked(groupsOwn)}
}

// wantGroupsOf wants what goes between a datacenter and a peer, of projects by their homes.
func (w *wanting) wantGroupsOf(d *wanted, datacenter, peer string, homes map[string][]string) {
	all := w.fleet.Projects.MultiDC.Items
	froms, tos := map[way][]string{}, map[way][]string{}
	for _, name := range sortedKeys(homes) {
		pulls, pushes := goes(all[name].In(datacenter), homes[name], datacenter, peer)
		if pulls {
			from := w.wayOf(all[name], datacenter, peer, true)
			froms[from] = append(froms[from], w.fleet.Project(naming.MultiDC, name))
		}
		if pushes {
			to := w.wayOf(all[name], datacenter, peer, false)
			tos[to] = append(tos[to], w.fleet.Project(naming.MultiDC, name))
		}
	}
	if len(froms)+len(tos) == 0 {
		return
	}
	at, sync := Key{datacenter, kindRegistry, groupedRegistry(peer)}, Key{peer, kindRobot, w.fleet.Harbor.SyncRobot.Name}
	if len(at.Name) > maxRegistryName {
		d.fault(at, "the name is longer than %d characters: shorten the datacenter's", maxRegistryName)
	}
	if d.objects[at] != nil {
		d.fault(at, "a cache has the name by which %s is known: call the cache something else", peer)
	}
	d.add(at, &registry{name: at.Name, kind: "harbor", url: string(w.fleet.Datacenters[peer].Harbor), description: marked("All projects of " + peer), user: w.prefixes[peer] + sync.Name}, sync)
	d.secrets[at] = w.secret(w.fleet.Harbor.SyncRobot.Secret, "")
	usual := &w.fleet.Projects.MultiDC.Defaults
	for from, projects := range froms {
		name := groups + " from " + peer + from.except(w.wayOf(usual, datacenter, peer, true))
		w.wantGroup(d, datacenter, peer, policy{name: name, from: at.Name, trigger: "scheduled"}, from, projects)
	}
	for to, projects := range tos {
		name := groups + " to " + peer + to.except(w.wayOf(usual, datacenter, peer, false))
		w.wantGroup(d, datacenter, peer, policy{name: name, to: at.Name, trigger: eventBased}, to, projects)
	}
}

// wantGroup wants the replications of projects of one way: one, or as many as Harbor's
// limit makes of it. The destination's namespace is empty, which keeps the paths.
func (w *wanting) wantGroup(d *wanted, datacenter, peer string, p policy, how way, projects []string) {
	p.description, p.override, p.single, p.byChunk = mark, how.override, how.single, how.byChunk
	tags := filter{kind: filterTag, value: "**"}
	if how.tags == fleet.TagsEdges {
		tags = contentAlone
	}
	filters := func(projects []string) []filter {
		return []filter{{kind: filterName, value: patternOf(projects)}, tags}
	}
	parts := dealt(projects, func(some []string) bool { return lengthOf(filters(some)) <= maxFilters })
	for _, part := range sortedKeys(parts) {
		one := p
		if one.filters = filters(parts[part]); part != "" {
			one.name += " " + part
		}
		k := Key{datacenter, kindPolicy, one.name}
		needs := []Key{{datacenter, kindRegistry, groupedRegistry(peer)}, {peer, kindRobot, w.fleet.Harbor.SyncRobot.Name}}
		for _, project := range parts[part] {
			needs = append(needs, Key{datacenter, kindProject, project}, Key{peer, kindProject, project})
		}
		if one.from != "" {
			var err error
			if one.cron, err = cron(how.every, datacenter+one.name); err != nil {
				d.fault(k, "%w", err)
			}
		}
		d.add(k, &one, needs...)
	}
}

// patternOf is the name filter that takes the repos of projects, as multi-dc-{a,b}/**, or
// {platform,infra}/** where some have names of their own.
func patternOf(projects []string) string {
	if len(projects) == 1 {
		return projects[0] + "/**"
	}
	prefix := naming.MultiDC
	if slices.ContainsFunc(projects, func(project string) bool { return naming.KindOf(project) != naming.MultiDC }) {
		prefix = ""
	}
	short := make([]string, 0, len(projects))
	for _, project := range projects {
		short = append(short, strings.TrimPrefix(project, prefix))
	}
	slices.Sort(short)
	return prefix + "{" + strings.Join(short, ",") + "}/**"
}

// projects are those whose repos the replication's name filter takes, where it is written
// as patternOf writes it.
func (p *policy) projects() []string {
	for _, f := range p.filters {
		pattern, ok := f.value.(string)
		if !ok || f.kind != filterName {
			continue
		}
		of, rest, _ := strings.Cut(pattern, "/")
		before, inside, braces := strings.Cut(of, "{")
		switch {
		case rest != "**" || strings.ContainsAny(of, "*?[\\"):
			return nil
		case !braces:
			return []string{of}
		}
		inside, after, _ := strings.Cut(inside, "}")
		all := strings.Split(inside, ",")
		for i := range all {
			all[i] = before + all[i] + after
		}
		return all
	}
	return nil
}

// lengthOf is how many characters Harbor keeps of filters.
func lengthOf(filters []filter) int {
	type kept struct {
		Type       string `json:"type"`
		Value      any    `json:"value"`
		Decoration string `json:"decoration,omitempty"`
	}
	var all []kept
	for _, f := range filters {
		all = append(all, kept{f.kind, f.value, f.decoration})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return maxFilters + 1
	}
	return len(text)
}

// dealt deals names out to parts that fit, by the bits of their hashes: a part is called
// by the bits that its names share, and "" where one is enough. Where a name goes does not
// depend on the others, but for how many bits count: one more changes the part that it
// comes into, or parts that in two.
func dealt(names []string, fits func([]string) bool) map[string][]string {
	parts := map[string][]string{}
	var deal func(bits string, names []string)
	deal = func(bits string, names []string) {
		if len(names) == 0 {
			return
		}
		if len(names) == 1 || len(bits) == 8*sha256.Size || fits(names) {
			parts[bits] = names
			return
		}
		var halves [2][]string
		for _, name := range names {
			sum := sha256.Sum256([]byte(name))
			bit := sum[len(bits)/8] >> (7 - len(bits)%8) & 1
			halves[bit] = append(halves[bit], name)
		}
		deal(bits+"0", halves[0])
		deal(bits+"1", halves[1])
	}
	deal("", names)
	return parts
}
