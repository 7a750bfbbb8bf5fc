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
// each replication rule would take of them is said too.
func Lint(f *fleet.Fleet, samples []string) (all []Finding) {
	add := func(isError bool, field, format string, args ...any) {
		all = append(all, Finding{field, fmt.Sprintf(format, args...), isError})
	}
	w := &wanting{fleet: f, secret: func(fleet.Ref, string) string { return "" }, prefixes: map[string]string{}}
	for _, fault := range w.wants().faults {
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
		lintMultiDC(f, name, add)
	}
	for _, name := range sortedKeys(f.Projects.Repl.Items) {
		lintRepl(f, name, samples, add)
	}
	return all
}

func lintMultiDC(f *fleet.Fleet, name string, add func(bool, string, string, ...any)) {
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
	if peers > 0 && p.Robots.Sync.IsZero() {
		add(false, path+".robots.sync", "there is no secret for the robot that replicates, so nothing is: write one, or make it a project of one datacenter")
	}
	switch {
	case peers == 0:
	case p.Replication.Tags == fleet.TagsEdges:
		lintEdgesTags(f, path, p, add)
	case !p.Robots.Sync.IsZero() && !p.AllImmutable():
		lintHarborsTags(f, path, p, writers, add)
	}
	if r := p.Retention; r != nil && peers > 0 && (r.PulledWithin > 0 || r.MostRecentlyPulled > 0) && f.Edge.Robot.Secret.IsZero() {
		add(false, path+".retention", "what is pulled in one datacenter does not count in the others, so theirs delete it and the scheduled pull brings it back; with edge.robot the edges make pulls count")
	}
}

// lintHarborsTags says what it costs that replication brings tags too, which can be moved.
func lintHarborsTags(f *fleet.Fleet, path string, p *fleet.MultiDC, writers int, add func(bool, string, string, ...any)) {
	peers := len(f.Datacenters) - 1
	instead := "write tags: edges"
	if lack := f.EdgesLack(); len(lack) > 0 {
		instead += " (which needs " + strings.Join(lack, ", ") + ")"
	}
	instead += ", immutable_tags, or push: event for the one datacenter that writes"
	switch {
	case writers > 1:
		add(false, path+".replication", "datacenters push to each other, and tags can be moved: a push costs up to %s, and a replication that is late moves a tag back, everywhere; %s", Counted(peers+peers*peers, "execution"), instead)
	case writers == 0:
		add(false, path+".replication", "no Harbor pushes on events: what is new is at the others after up to %v, and a tag that they have is never moved there; %s", time.Duration(p.Replication.Pull), instead)
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

func lintRepl(f *fleet.Fleet, name string, samples []string, add func(bool, string, string, ...any)) {
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
		if naming.Match(image.Tags, "latest") {
			add(false, path+".tags", "%q takes every tag, and all of them are held: write a pattern", image.Tags)
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
