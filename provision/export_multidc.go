package provision

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
)

// edge is the address of a datacenter's edge, as its Harbor's webhooks have it; "" where
// there is none of ours.
func (x *exporter) edge(datacenter string) string {
	if e := x.have[datacenter].get(kindInstance, preheatName); e != nil {
		if address, ok := strings.CutSuffix(e.object.(*instance).endpoint, preheatPath); ok {
			return address
		}
	}
	for k, e := range x.have[datacenter].entries {
		if w, ok := e.object.(*webhook); ok && k.Kind == kindWebhook && len(w.targets) == 1 {
			if address, ok := strings.CutSuffix(w.targets[0].address, webhookPath); ok {
				return address
			}
		}
	}
	return ""
}

// edgeRobot is the name of the robot with which edges pull; "": there is none.
func (x *exporter) edgeRobot() string {
	for _, name := range x.all(kindRobot) {
		if rb := x.first(kindRobot, name).object.(*robot); rb.project == "" && strings.HasPrefix(rb.description, edgesOwn) {
			return rb.name
		}
	}
	return ""
}

func (x *exporter) writeEdge() {
	robot, known := x.edgeRobot(), slices.ContainsFunc(x.names, func(name string) bool { return x.edge(name) != "" })
	if robot == "" && !known {
		return
	}
	x.line(0, "edge:\n  plain_http: true  # or its certificate: tls")
	if robot != "" {
		x.line(1, "robot: { name: %q, secret: %s }", robot, x.secret("robot-password/edge"))
	}
	if known { // what webhooks show is derived from it
		x.line(1, "peers: { key: %s }", x.secret("peer-key"))
		if x.first(kindInstance, preheatName) != nil {
			x.line(1, "preheat: true")
		}
	}
}

// multiDC are the fields that replicated projects alone have, as one datacenter has them.
func (x *exporter) multiDC(datacenter, full string) (all []string) {
	told := func(name string) bool { return x.have[name].get(kindWebhook, full+" "+webhookName) != nil }
	if slices.ContainsFunc(x.names, func(name string) bool { return !told(name) && x.edge(name) != "" }) { // else it is the default
		all = append(all, "webhooks: "+strconv.FormatBool(told(datacenter)))
	}
	homes := x.homes(full)
	if homes != nil && !slices.Contains(homes, datacenter) {
		datacenter = homes[0] // others have some of the replications alone
	}
	text := x.replication(datacenter, full)
	if text != "" {
		all = append(all, "replication: { "+text+" }")
	}
	if homes != nil && strings.HasSuffix(text, "tags: "+fleet.TagsEdges) {
		all = append(all, fmt.Sprintf("copies: %d", len(homes)))
	}
	return all
}

// homes are the datacenters that pull a project from others, where not all do: those that so
// many copies have. nil: all do, or it is replicated in a way of its own.
func (x *exporter) homes(full string) (pulling []string) {
	name := x.nameOf(full)
	f := &fleet.Fleet{Datacenters: map[string]*fleet.Datacenter{}}
	for _, datacenter := range x.names {
		f.Datacenters[datacenter] = nil
		for k, e := range x.have[datacenter].entries {
			if p, ok := e.object.(*policy); ok && p.from != "" && p.replicates(k, name, full) {
				pulling = append(pulling, datacenter)
				break
			}
		}
	}
	f.Projects.MultiDC = fleet.MultiDCs{Replication: fleet.Grouped, Items: map[string]*fleet.MultiDC{name: {Copies: fleet.Copies(len(pulling))}}}
	if len(pulling) < 2 || !slices.Equal(f.Homes(name), pulling) {
		return nil
	}
	return pulling
}

// replication is how a project's replications are in a datacenter.
func (x *exporter) replication(datacenter, full string) string {
	push, pull := "none", time.Duration(0)
	found, owner := false, fleet.TagsEdges
	how := &policy{}
	for k, e := range x.have[datacenter].entries {
		p, ok := e.object.(*policy)
		if !ok {
			continue
		}
		switch {
		case !p.replicates(k, x.nameOf(full), full):
			continue
		case p.from == "":
			push, found = pushOnEvents, true
		default:
			pull, found, how = interval(p.cron), true, p
		}
		if !slices.ContainsFunc(p.filters, contentAlone.same) {
			owner = fleet.TagsHarbor
		}
	}
	if !found {
		return ""
	}
	var all []string
	if pull > 0 {
		all = append(all, "pull: "+duration(pull))
	}
	all = append(all, how.choices()...)
	if owner == fleet.TagsEdges && !x.edgesOwn() {
		// Neither is push written: by default it is none now, and on events once there are edges.
		x.unsaid[full] = true
		x.noteOf(Key{datacenter, kindProject, full}, "it is replicated without its tags, as with tags: edges, which needs what this Harbor does not say: every datacenter's edge, edge.robot and edge.peers; write them before an apply")
	} else {
		all = append(all, "push: "+push, "tags: "+owner)
	}
	return strings.Join(all, ", ")
}

// replicates reports whether a replication is one of ours between datacenters, of a project
// or of a group that it is in; name is the project's in the file.
func (p *policy) replicates(k Key, name, full string) bool {
	if strings.HasPrefix(k.Name, betweenOf(name)+" to ") || strings.HasPrefix(k.Name, betweenOf(name)+" from ") {
		return p.namespace == full
	}
	_, ok := directionOf(k)
	return ok && strings.HasPrefix(k.Name, groups+" ") && slices.Contains(p.projects(), full)
}

// groupsRobot is the name of the robot as which Harbors replicate in groups; "": they do not.
func (x *exporter) groupsRobot() string {
	for _, name := range x.all(kindRobot) {
		if rb := x.first(kindRobot, name).object.(*robot); rb.project == "" && rb.description == marked(groupsOwn) && !strings.HasSuffix(rb.name, nextSuffix) {
			return rb.name
		}
	}
	return ""
}

// writeGroups writes that projects are replicated in groups, and how those are that do not
// say it themselves: replications whose names say nothing more are of them.
func (x *exporter) writeGroups() {
	if x.groupsRobot() == "" {
		return
	}
	x.line(2, "replication: grouped")
	for _, datacenter := range x.names {
		for _, k := range slices.SortedFunc(maps.Keys(x.have[datacenter].entries), Key.compare) {
			p, ok := x.have[datacenter].entries[k].object.(*policy)
			if of, between := directionOf(k); !ok || !between || of.word != wordFrom || !strings.HasPrefix(k.Name, groups+" ") || strings.Contains(k.Name, "(") || len(p.projects()) == 0 {
				continue
			}
			if text := x.replication(datacenter, p.projects()[0]); text != "" {
				x.line(2, "defaults: { replication: { %s } }", text)
				return
			}
		}
	}
}

// choices are the fields of how a replication runs, as far as they are not the defaults.
func (p *policy) choices() (all []string) {
	if p.single == "false" {
		all = append(all, "single_active: false")
	}
	if p.byChunk == "true" {
		all = append(all, "copy_by_chunk: true")
	}
	return all
}

// edgesOwn reports whether what is written is enough for edges to own tags.
func (x *exporter) edgesOwn() bool {
	return x.edgeRobot() != "" && !slices.ContainsFunc(x.names, func(name string) bool { return x.edge(name) == "" })
}

// writeSystem writes what concerns the whole Harbor, where it is not as Harbor is born.
func (x *exporter) writeSystem() {
	if e := x.first(kindConfiguration, "settings"); e != nil && !x.left["harbor.settings"] {
		c := e.object.(configuration)
		var all []string
		if v := c["project_creation_restriction"]; v != "everyone" && v != "" {
			all = append(all, "project_creation: "+v)
		}
		for _, f := range []struct{ key, field, born string }{{"token_expiration", "token_lifetime", "30"}, {"session_timeout", "session_timeout", "60"}} {
			if v := c[f.key]; v != f.born && v != "" {
				all = append(all, f.field+": "+v+"m")
			}
		}
		if len(all) > 0 {
			x.line(1, "settings: { %s }", strings.Join(all, ", "))
		}
	}
	if e := x.first(kindGC, "schedule"); e != nil && !x.left["harbor.gc"] {
		if c := e.object.(*collection); c.cron != "" {
			every := cmp.Or(interval(c.cron), 24*time.Hour)
			x.line(1, "gc: { every: %s, untagged: %t }", duration(every), c.untagged)
		}
	}
}
