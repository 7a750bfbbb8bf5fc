package provision

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/internal/secret"
)

// syncRobot is the robot of a project as which other Harbors replicate it.
const syncRobot = "sync"

// wantMultiDC wants the project, its robots, and between it and each other
// datacenter's a registry and the two replications, unless these are of groups.
func (w *wanting) wantMultiDC(d *wanted, datacenter, name string, m *fleet.MultiDC) {
	full := w.fleet.Project(naming.MultiDC, name)
	project := w.wantProject(d, datacenter, common{project: projectOf(full, nil, m.Quota), retention: m.Retention, members: m.Members, immutable: m.Immutable}, m.AutoScan)
	robots := []struct {
		name, actions string
		secret        fleet.Ref
	}{
		{"readonly", "repository:pull", m.Robots.ReadOnly},
		{"readwrite", "repository:push repository:pull", m.Robots.ReadWrite},
		{syncRobot, replicates, m.Robots.Sync},
	}
	if w.fleet.Grouped() {
		robots = robots[:2]
	}
	for _, r := range robots {
		if r.secret.IsZero() {
			continue
		}
		k := Key{datacenter, kindRobot, full + "+" + r.name}
		rb := &robot{name: r.name, project: full, duration: -1, description: marked(fmt.Sprintf("Multi DC %s"+robotOf+"%s"+robotIn, r.name, name))}
		rb.grants = grantsOf(full, r.actions)
		d.add(k, rb, project)
		d.secrets[k] = w.secret(r.secret, name)
		w.checkSecret(d, k)
	}
	w.wantWebhook(d, datacenter, full, m, project)
	w.wantPreheat(d, datacenter, full, m.Preheat, project)
	if !m.Robots.Sync.IsZero() && !w.fleet.Grouped() {
		homes := w.fleet.Homes(name)
		for _, peer := range sortedKeys(w.fleet.Datacenters) {
			if pulls, pushes := goes(m, homes, datacenter, peer); pulls || pushes {
				w.wantPeer(d, datacenter, peer, name, m, pulls, pushes)
			}
		}
	}
}

// goes is what a datacenter's Harbor does for a project that has these homes: it pulls from a
// peer where it is one of them, also what was pushed at one that is none, and it pushes to a
// peer that is one. m is the project as the datacenter has it.
func goes(m *fleet.MultiDC, homes []string, datacenter, peer string) (pulls, pushes bool) {
	if datacenter == peer {
		return false, false
	}
	return holds(homes, datacenter), holds(homes, peer) && m.Replication.Push == pushOnEvents
}

// homesByProject are the homes of projects, by name.
func homesByProject(f *fleet.Fleet, projects []string) map[string][]string {
	homes := map[string][]string{}
	for _, name := range projects {
		homes[name] = f.Homes(name)
	}
	return homes
}

// holds reports whether a datacenter is one of the homes of a project, as all are of nil.
func holds(homes []string, datacenter string) bool {
	return homes == nil || slices.Contains(homes, datacenter)
}

// betweenOf is how the names begin of what replicates a project of the fleet file between
// datacenters. It is told by the prefix, whatever the project itself is called.
func betweenOf(name string) string { return naming.MultiDC + name }

// wantPeer wants the registry of a peer and the replications of one project from it and to it.
func (w *wanting) wantPeer(d *wanted, datacenter, peer, name string, m *fleet.MultiDC, pulls, pushes bool) {
	full, of := w.fleet.Project(naming.MultiDC, name), betweenOf(name)
	project, sync := Key{datacenter, kindProject, full}, Key{peer, kindRobot, full + "+" + syncRobot}
	// Keyed by repo and datacenter: by datacenter alone the second repo overwrites the first.
	at := Key{datacenter, kindRegistry, of + "-" + peer}
	if len(at.Name) > maxRegistryName {
		d.fault(at, "the name is longer than %d characters: shorten the project's or the datacenter's", maxRegistryName)
	}
	d.add(at, &registry{name: at.Name, kind: "harbor", url: string(w.fleet.Datacenters[peer].Harbor), description: marked(name + " " + peer + " remote"), user: w.prefixes[peer] + sync.Name}, sync)
	d.secrets[at] = w.secret(m.Robots.Sync, name)
	// The name filter keeps other projects' images out, the count of 1 keeps what is
	// below the project: -1 would make x/app and y/app one.
	tags := filter{kind: filterTag, value: "**"}
	if m.Replication.Tags == fleet.TagsEdges {
		tags = contentAlone
	}
	p := policy{description: mark, namespace: full, flatten: 1, filters: []filter{{kind: filterName, value: full + "/**"}, tags}, byChunk: saidBool(m.Replication.ByChunk)}
	from := p
	from.single = saidBool(m.Replication.Single) // of events Harbor takes none with it
	from.name, from.from, from.trigger, from.override = of+" from "+peer, at.Name, "scheduled", moves(w.fleet.Projects.MultiDC.Items[name], peer)
	k := Key{datacenter, kindPolicy, from.name}
	var err error
	if from.cron, err = cron(time.Duration(m.Replication.Pull), datacenter+from.name); err != nil {
		d.fault(k, "%w", err)
	}
	if pulls {
		d.add(k, &from, at, project)
	}
	if pushes {
		to := p
		to.name, to.to, to.trigger, to.override = of+" to "+peer, at.Name, eventBased, moves(w.fleet.Projects.MultiDC.Items[name], datacenter)
		d.add(Key{datacenter, kindPolicy, to.name}, &to, at, project, Key{peer, kindProject, full})
	}
}

// contentAlone leaves out what has any tag. Content arrives without one, and the edge
// there puts it: no replication, however late, moves a tag.
var contentAlone = filter{kind: filterTag, value: "?*", decoration: excludes}

// moves reports whether replication from a datacenter moves tags that are there already:
// from those that write. One that does not write has nothing newer, and what it still has
// of old would be put over what was pushed elsewhere a moment ago.
func moves(m *fleet.MultiDC, source string) bool {
	if m.Replication.Tags == fleet.TagsEdges {
		return false
	}
	return m.AllImmutable() || m.In(source).Replication.Push == pushOnEvents
}

// Of replication.push.
const pushOnEvents = "event"

// webhookName is that of our webhooks in Harbor, one in each project.
const webhookName = "breakwater"

// webhookPath is where edges take them.
const webhookPath = "/breakwater/v1/webhook"

// wantWebhook wants the Harbor to tell its edge of pushes and deletes that did not come
// through it. The edge knows them by a secret that is of this project alone.
func (w *wanting) wantWebhook(d *wanted, datacenter, full string, m *fleet.MultiDC, project Key) {
	edge, key := w.fleet.Datacenters[datacenter].Edge, w.fleet.Edge.Peers.Key
	if edge == "" || key.IsZero() || !isTrue(m.Webhooks) {
		return
	}
	k := Key{datacenter, kindWebhook, full + " " + webhookName}
	d.add(k, &webhook{
		description: marked("Tells the edge of " + datacenter + " of pushes and deletes"), events: []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT"},
		targets: []target{{address: strings.TrimRight(string(edge), "/") + webhookPath, kind: "http", format: "Default"}},
	}, project)
	if from, ok := w.edgesKey(d, keyring.Webhooks); ok {
		d.secrets[k] = "Bearer " + secret.Webhook(from, datacenter, full)
	}
}

// edgesKey is the key in use of those that edges share, for a purpose. It is not there where its
// secret is not, which is a fault of its own.
func (w *wanting) edgesKey(d *wanted, purpose keyring.Purpose) (from keyring.Key, ok bool) {
	shared := w.secret(w.fleet.Edge.Peers.Key, "")
	if shared == "" {
		return from, false
	}
	ring, err := keyring.New(shared, "")
	if err != nil {
		d.faultOnce(fmt.Errorf("edge.peers.%w", err))
		return from, false
	}
	return ring.For(purpose)[0], true
}

// edgePulls is what an edge does in every managed project: it pulls, and it looks what Harbor
// holds before it shows its retention a pull. A cache that is asked for something else fetches it.
const edgePulls = "repository:pull artifact:read"

// ownsTags is what an edge does in multi-dc projects beside pulling: it puts what moved
// elsewhere, and deletes what was deleted elsewhere.
const ownsTags = "repository:push repository:list artifact:list artifact:delete tag:list tag:delete"

// wantEdgeRobot wants the robot with which the edge pulls: of the system, in every
// managed project.
func (w *wanting) wantEdgeRobot(d *wanted, datacenter string) {
	e := w.fleet.Edge.Robot
	if e.Secret.IsZero() {
		return
	}
	k, rb := w.edgeRobot(datacenter)
	var needs []Key
	for key := range d.objects {
		if key.Datacenter == datacenter && key.Kind == kindProject {
			actions := edgePulls
			if _, m := w.fleet.MultiDC(key.Name); m != nil { // also where Harbors replicate tags: what they move back is put right
				actions += " " + ownsTags
			}
			rb.grants = append(rb.grants, grantsOf(key.Name, actions)...)
			needs = append(needs, key)
		}
	}
	if len(rb.grants) == 0 {
		return
	}
	d.add(k, rb, needs...)
	d.secrets[k] = w.secret(e.Secret, "")
	w.checkSecret(d, k)
}

// edgeRobot is the edge's robot, which may nothing yet.
func (w *wanting) edgeRobot(datacenter string) (Key, *robot) {
	name := w.fleet.Edge.Robot.Name
	return Key{datacenter, kindRobot, name}, &robot{name: name, duration: -1, description: marked(edgesOwn)}
}

// grantsOf reads what a robot may do in a project, as "repository:push tag:list".
func grantsOf(project, actions string) (all []grant) {
	for _, text := range strings.Fields(actions) {
		resource, action, _ := strings.Cut(text, ":")
		all = append(all, grant{namespace: project, resource: resource, action: action})
	}
	return all
}
