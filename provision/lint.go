package provision

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// Finding is something in a fleet file that Harbor takes and its users would not want.
type Finding struct {
	Field   string `json:"field"` // as projects.repl.kubernetes-core.images[0]
	Message string `json:"message"`
	Error   bool   `json:"error"` // it cannot work; the others are for a person to weigh

	project string // whose it is, as the field has it
	assumed bool   // it comes of defaults alone
}

func (f Finding) String() string {
	level := "warning"
	if f.Error {
		level = "error"
	}
	return fmt.Sprintf("%s: %s: %s", level, f.Field, f.Message)
}

// Limits of Docker Hub for those who do not log in (https://docs.docker.com/docker-hub/usage/).
const (
	hubPulls  = 100
	hubWindow = 6 * time.Hour
)

// Lint checks the fleet's topology without touching a Harbor. samples are tags: what
// each replication rule would take of them is said too. It finds nothing in defaults: what
// they come to is Assumed.
func Lint(f *fleet.Fleet, samples []string) []Finding {
	return slices.DeleteFunc(lint(f, samples), func(f Finding) bool { return f.assumed })
}

// Assumed is what the defaults come to that a person should know, though nobody wrote it.
func Assumed(f *fleet.Fleet) []Finding {
	return slices.DeleteFunc(lint(f, nil), func(f Finding) bool { return !f.assumed })
}

func lint(f *fleet.Fleet, samples []string) (all []Finding) {
	add := func(isError bool, field, format string, args ...any) {
		all = append(all, Finding{Field: field, Message: fmt.Sprintf(format, args...), Error: isError})
	}
	in := func(project string, lint func()) {
		before := len(all)
		lint()
		for i := range all[before:] {
			all[before+i].project = project
		}
	}
	assume := func(field, format string, args ...any) {
		all = append(all, Finding{Field: field, Message: fmt.Sprintf(format, args...), assumed: true})
	}
	w := &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "" }, prefixes: map[string]string{}}
	for _, fault := range w.wants().errs() {
		add(true, "projects", "%v", fault)
	}
	if o := f.Harbor.OIDC; o != nil && o.GroupsClaim != "" {
		switch {
		case strings.Contains(o.GroupsClaim, "."):
			add(true, "harbor.oidc.groups_claim", "%q is a nested claim, and Harbor reads those at the top level alone: map it to one in the provider", o.GroupsClaim)
		case o.GroupsClaim == "roles" && strings.Contains(string(o.Endpoint), "/realms/"):
			add(false, "harbor.oidc.groups_claim", "Keycloak has its roles in realm_access.roles, where Harbor does not find them: add a mapper that writes them to the claim roles")
		}
	}
	lintEdges(f, add)
	for _, name := range sortedKeys(f.Projects.MultiDC.Items) {
		in(name, func() { lintMultiDC(f, name, add, assume) })
	}
	for _, name := range sortedKeys(f.Projects.Repl.Items) {
		in(name, func() { lintRepl(f, name, samples, add, assume) })
	}
	return all
}

func lintMultiDC(f *fleet.Fleet, name string, add func(bool, string, string, ...any), assume func(string, string, ...any)) {
	path, p := "projects.multi-dc."+name, f.Projects.MultiDC.Items[name]
	peers := len(f.Datacenters) - 1
	writers, quotas := 0, map[fleet.Size]bool{}
	for datacenter := range f.Datacenters {
		here := p.In(datacenter)
		quotas[here.Quota] = true
		if here.Replication.Push == pushOnEvents {
			writers++
		}
	}
	if len(quotas) > 1 {
		add(false, path+".quota", "it is not the same in all datacenters: where it is smaller, replication fails once it is full")
	}
	if peers > 0 && !f.Replicated(name) {
		add(false, path+".robots.sync", "there is no secret for the robot that replicates, so nothing is: write one, or make it a project of one datacenter")
	}
	switch {
	case peers == 0:
	case p.Replication.Tags == fleet.TagsEdges:
		lintEdgesTags(f, path, p, add)
	case f.Replicated(name) && !p.AllImmutable():
		say := assume
		if chosen(f, name, ".replication.push") || chosen(f, name, ".replication.tags") || halfOfEdges(f) {
			say = func(field, format string, args ...any) { add(false, field, format, args...) }
		}
		lintHarborsTags(f, path, p, writers, say)
	}
	if r := p.Retention; r != nil && f.Replicated(name) && (r.PulledWithin > 0 || r.MostRecentlyPulled > 0) && (f.Edge.Robot.Secret.IsZero() || *f.Edge.Touch == 0) {
		say := assume
		if chosen(f, name, ".retention") {
			say = func(field, format string, args ...any) { add(false, field, format, args...) }
		}
		say(path+".retention", "what is pulled in one datacenter does not count in the others, so theirs delete it and the scheduled pull brings it back; with edge.robot and edge.touch the edges make pulls count")
	}
}

// chosen reports whether the file says something of a multi-dc project, or of all of them.
func chosen(f *fleet.Fleet, name, field string) bool {
	path := "projects.multi-dc." + name
	return f.Written(path+field) || f.Written("projects.multi-dc.defaults"+field) ||
		slices.ContainsFunc(sortedKeys(f.Datacenters), func(datacenter string) bool { return f.Written(path + ".datacenters." + datacenter + field) })
}

// halfOfEdges reports whether the file has some of what edges need to own tags: those who
// wrote it want the rest.
func halfOfEdges(f *fleet.Fleet) bool {
	return len(f.EdgesLack()) < len(f.Datacenters)+2 // their addresses, the robot and the peers
}

// lintHarborsTags says what it costs that replication brings tags too, which can be moved.
func lintHarborsTags(f *fleet.Fleet, path string, p *fleet.MultiDC, writers int, say func(string, string, ...any)) {
	peers := len(f.Datacenters) - 1
	instead := "write tags: edges"
	if lack := f.EdgesLack(); len(lack) > 0 {
		instead += " (which needs " + strings.Join(lack, ", ") + ")"
	}
	instead += ", immutable_tags, or push: event for the one datacenter that writes"
	switch {
	case writers > 1:
		say(path+".replication", "datacenters push to each other, and tags can be moved: a push costs up to %s, and a replication that is late moves a tag back, everywhere; %s", Counted(peers+peers*peers, "execution"), instead)
	case writers == 0:
		say(path+".replication", "no Harbor pushes on events: what is new is at the others after up to %v, and a tag that they have is never moved there; %s", time.Duration(p.Replication.Pull), instead)
	}
}

// lintEdgesTags says what takes content away before the edge there has put its tag, and
// what keeps edges from knowing of tags.
func lintEdgesTags(f *fleet.Fleet, path string, p *fleet.MultiDC, add func(bool, string, string, ...any)) {
	ours := func(field string, of func(*fleet.MultiDC) bool, format string, args ...any) {
		if of(p) {
			add(false, path+field, format, args...)
			return
		}
		for _, name := range sortedKeys(p.Datacenters) {
			if of(p.In(name)) {
				add(false, path+".datacenters."+name+field, format, args...)
			}
		}
	}
	ours(".retention", func(m *fleet.MultiDC) bool { return m.Retention.PushedWithin == 0 && !m.Retention.Always },
		"content comes to the other datacenters without a tag, which their edges put: what the daily run finds before that was never pulled, and is deleted; write pushed_within: 1d or more beside the rest")
	ours(".replication.push", func(m *fleet.MultiDC) bool { return m.Replication.Push != pushOnEvents },
		"content comes to the other Harbors by the pull every %v alone, and their tags follow no sooner; with tags: edges a push on events moves no tag back: write push: event", time.Duration(p.Replication.Pull))
	ours(".webhooks", func(m *fleet.MultiDC) bool { return !isTrue(m.Webhooks) },
		"edges own the tags, and are not told what is pushed to a Harbor past them, or deleted in its portal; write webhooks: true")
}

// lintEdges says what in the rest of the file does not go with edges that own tags.
func lintEdges(f *fleet.Fleet, add func(bool, string, string, ...any)) {
	owned := slices.ContainsFunc(sortedKeys(f.Projects.MultiDC.Items), func(name string) bool {
		return f.Projects.MultiDC.Items[name].Replication.Tags == fleet.TagsEdges
	})
	if !owned || len(f.Datacenters) < 2 {
		return
	}
	if gc := f.Harbor.GC; gc != nil && gc.Untagged {
		add(false, "harbor.gc.untagged", "content of multi-dc projects comes without a tag, which the edge there puts: a run in between deletes it; write untagged: false, and retention takes what stays without one")
	}
	if f.Edge.Peers.Key.IsZero() {
		add(false, "edge.peers.key", "edges own tags, and without a key Harbors have no webhooks for them: they are not told what is pushed to a Harbor past them, or deleted in its portal; write a key beside the CA")
	}
}

func lintRepl(f *fleet.Fleet, name string, samples []string, add func(bool, string, string, ...any), assume func(string, string, ...any)) {
	p := f.Projects.Repl.Items[name]
	for i, image := range p.Images {
		path := fmt.Sprintf("projects.repl.%s.images[%d]", name, i)
		from := f.Projects.Cache.Items[image.From]
		if every := time.Duration(image.Every); from != nil && from.Provider == fleet.DockerHub && every > 0 && every < hubWindow {
			runs := int(hubWindow / every)
			limit := fmt.Sprintf("without a login Docker Hub allows %d: enough for %s", hubPulls, Counted(hubPulls/runs, "tag"))
			if !from.Password.IsZero() {
				limit = "an account's plan says how many it allows"
			}
			add(false, path+".every", "every run asks Docker Hub for the manifest of each tag that matches, changed or not: %d in 6 hours for each tag and datacenter; %s; write every: 24h", runs, limit)
		}
		const every = "%q takes every tag, and all of them are held: write a pattern"
		switch {
		case !naming.Match(image.Tags, "latest"):
		case f.Written(path + ".tags"):
			add(false, path+".tags", every, image.Tags)
		default:
			assume(path+".tags", every, image.Tags)
		}
		if len(samples) > 0 {
			var takes []string
			for _, tag := range samples {
				if naming.Match(image.Tags, tag) {
					takes = append(takes, tag)
				}
			}
			add(false, path+".tags", "of the given tags %q takes %s", image.Tags, orNothing(takes))
		}
	}
}

func orNothing(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
