package provision

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.org/breakwater/internal/naming"
)

// Kinds of objects, in the order in which a plan shows them.
const (
	kindConfiguration = "configuration"
	kindGC            = "garbage collection"
	kindProject       = "project"
	kindRetention     = "retention"
	kindImmutable     = "immutable tags"
	kindMember        = "member"
	kindRobot         = "robot"
	kindRegistry      = "registry"
	kindPolicy        = "replication"
	kindWebhook       = "webhook"
	kindInstance      = "preheat instance"
	kindPreheat       = "preheat"
	kindUser          = "user"
)

var kinds = []string{kindConfiguration, kindGC, kindProject, kindRetention, kindImmutable, kindMember, kindRobot, kindRegistry, kindPolicy, kindWebhook, kindInstance, kindPreheat, kindUser}

// Key names an object of the fleet.
type Key struct {
	Datacenter string `json:"datacenter"`
	Kind       string `json:"kind"`
	Name       string `json:"name"` // as the fleet file leads to it: a robot's is without the prefix
}

func (k Key) String() string { return k.Datacenter + ": " + k.Kind + " " + k.Name }

// compare orders keys as a plan shows them.
func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(k.Datacenter, o.Datacenter), slices.Index(kinds, k.Kind)-slices.Index(kinds, o.Kind), strings.Compare(k.Name, o.Name))
}

// field is one property in canonical form: two objects are alike when their
// fields' texts are.
type field struct{ name, value string }

// object is what is wanted of one Harbor, or what it has.
type object interface {
	fields() []field
}

// configuration are the keys of Harbor's configuration that the fleet file sets.
type configuration map[string]string

func (c configuration) fields() (all []field) {
	for k, v := range c {
		all = append(all, field{k, v})
	}
	slices.SortFunc(all, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return all
}

// numeric are the keys whose values are numbers; those that are true or false say so.
var numeric = []string{"token_expiration", "session_timeout"}

// collection is when garbage is collected.
type collection struct {
	cron     string // "": never
	untagged bool
}

func (c *collection) fields() []field {
	return []field{{"schedule", c.cron}, {"untagged", strconv.FormatBool(c.untagged)}}
}

// project is a Harbor project with its quota.
type project struct {
	name     string
	public   bool
	autoScan bool
	quota    int64  // bytes; -1: unlimited
	registry string // the registry's name; of a proxy cache
	keeps    string // of a proxy cache, whether it serves what its upstream has deleted: true or false; "": Harbor does not know, or the fleet file does not say
}

func (p *project) fields() []field {
	all := []field{{"public", strconv.FormatBool(p.public)}, {"auto_scan", strconv.FormatBool(p.autoScan)}, {"quota", bytesText(p.quota)}}
	if p.registry != "" {
		all = append(all, field{fieldRegistry, p.registry})
	}
	if p.keeps != "" {
		all = append(all, field{fieldKeeps, p.keeps})
	}
	return all
}

// Fields that cannot be changed once an object is there.
const (
	fieldRegistry = "registry"
	fieldType     = "type"
)

// bytesText writes a size as the fleet file does.
func bytesText(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; n != 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// retention is what a project keeps.
type retention struct {
	algorithm string
	rules     []rule
	cron      string
}

type rule struct {
	template string
	n        int64 // of days or artifacts; 0 for "always"
	selects  string
	disabled bool
}

// everything is what our rules select: all tags of all repos, untagged artifacts too.
const everything = "repos ** tags ** and untagged"

func (r *retention) fields() []field {
	var texts []string
	for _, r := range r.rules {
		text := r.template
		if r.n != 0 {
			text += fmt.Sprintf(" %d", r.n)
		}
		if r.selects != everything {
			text += " of " + r.selects
		}
		if r.disabled {
			text += " (disabled)"
		}
		texts = append(texts, text)
	}
	return []field{{"keep", set(texts)}, {"algorithm", r.algorithm}, {"schedule", r.cron}}
}

// set writes texts whose order does not count.
func set(texts []string) string {
	texts = slices.Compact(slices.Sorted(slices.Values(texts)))
	return strings.Join(texts, ", ")
}

// immutable is a rule that makes tags immutable. What it selects is in its key: rules of
// the same tags in other repos are others.
type immutable struct {
	pattern  string // of tags in all repos; "": it selects something else, and is not ours
	disabled bool
}

func (i *immutable) fields() []field {
	return []field{{"disabled", strconv.FormatBool(i.disabled)}}
}

// member is an OIDC group in a project, or a person.
type member struct {
	group  string
	role   string
	person bool // the fleet file has none
}

func (m *member) fields() []field { return []field{{"role", m.role}} }

var roles = map[string]int64{"admin": 1, "developer": 2, "guest": 3, "maintainer": 4, "limited-guest": 5}

// robot is a robot account.
type robot struct {
	name        string // without prefix and project
	project     string // "": a robot of the system
	description string
	duration    int64 // days; -1: for ever
	disabled    bool
	grants      []grant
}

// grant is what a robot may do in a project.
type grant struct{ namespace, resource, action, effect string }

func (r *robot) fields() []field {
	var texts []string
	for _, g := range r.grants {
		text := g.resource + ":" + g.action
		if r.project == "" {
			text = g.namespace + " " + text
		}
		if g.effect != "" && g.effect != "allow" {
			text += " " + g.effect
		}
		texts = append(texts, text)
	}
	duration := "for ever"
	if r.duration != -1 {
		duration = Counted(r.duration, "day")
	}
	return []field{{"may", set(texts)}, {"duration", duration}, {"disabled", strconv.FormatBool(r.disabled)}, {"description", r.description}}
}

// key is the robot's name without the Harbor's prefix.
func (r *robot) key() string {
	if r.project == "" {
		return r.name
	}
	return r.project + "+" + r.name
}

// registry is an endpoint that Harbor replicates from or to, or caches.
type registry struct {
	name        string
	kind        string // Harbor's registry type
	url         string
	description string
	insecure    bool
	user        string
}

func (r *registry) fields() []field {
	return []field{{fieldType, r.kind}, {"url", strings.TrimRight(r.url, "/")}, {"user", r.user}, {"insecure", strconv.FormatBool(r.insecure)}, {"description", r.description}}
}

// policy is a replication rule. The side that is this Harbor itself is "".
type policy struct {
	name        string
	description string
	from, to    string // registries, by name
	cron        string // of a scheduled one
	trigger     string // scheduled | event_based | manual
	namespace   string
	flatten     naming.Flatten
	filters     []filter
	disabled    bool
	override    bool
	deletion    bool
	speed       int32  // kbit/s; 0: no limit
	single      string // "true": it does not begin while it runs. "": not said
	byChunk     string // "true": blobs are copied in parts. "": not said
}

func (p *policy) fields() []field {
	trigger := p.trigger
	if p.cron != "" {
		trigger += " " + p.cron
	}
	var texts []string
	for _, f := range p.filters {
		texts = append(texts, f.String())
	}
	all := []field{{"from", cmp.Or(p.from, "here")}, {"to", cmp.Or(p.to, "here")}, {"trigger", trigger}, {"filters", set(texts)}, {"namespace", p.namespace},
		{"dest_namespace_replace_count", strconv.Itoa(int(p.flatten))}, {"override", strconv.FormatBool(p.override)}, {"deletion", strconv.FormatBool(p.deletion)},
		{"speed", strconv.Itoa(int(max(p.speed, 0)))}, {"disabled", strconv.FormatBool(p.disabled)}, {"description", p.description}}
	for _, f := range []field{{fieldSingle, p.single}, {fieldByChunk, p.byChunk}} {
		if f.value != "" {
			all = append(all, f)
		}
	}
	return all
}

// Fields that Harbors of some versions do not have: those say nothing of them, and keep
// nothing of what is written.
const (
	fieldKeeps   = "proxy_cache_local_on_not_found" // since 2.15.1
	fieldSingle  = "single_active_replication"
	fieldByChunk = "copy_by_chunk"
)

const eventBased = "event_based" // a replication's trigger

// Of a replication's filters.
const (
	filterName = "name"
	filterTag  = "tag"
	matches    = "matches"
	excludes   = "excludes"
)

// filter says what a replication takes.
type filter struct {
	kind       string // name, tag, label or resource
	value      any    // a glob; of labels a list
	decoration string // matches or excludes; "": matches
}

// String is the filter as "tag v*", or "tag v* excludes". A value that has a space in it
// is quoted: it is no decoration.
func (f filter) String() string {
	text := fmt.Sprint(f.value)
	if strings.ContainsAny(text, ` "`) {
		text = strconv.Quote(text)
	}
	text = f.kind + " " + text
	if f.decoration != "" && f.decoration != matches {
		text += " " + f.decoration
	}
	return text
}

func (f filter) same(o filter) bool { return f.String() == o.String() }

// webhook is what tells somebody of events in a project.
type webhook struct {
	description string
	disabled    bool
	events      []string
	targets     []target
}

// descriptionOf is an object's description in Harbor; "" of what has none.
func descriptionOf(o object) string {
	switch o := o.(type) {
	case *robot:
		return o.description
	case *registry:
		return o.description
	case *policy:
		return o.description
	case *webhook:
		return o.description
	case *instance:
		return o.description
	case *preheat:
		return o.description
	}
	return ""
}

// target is where a webhook goes.
type target struct {
	address    string
	kind       string // http | slack
	format     string // of the body
	skipVerify bool   // no certificate is verified
	auth       string // the Authorization header: a secret, in no text
}

func (w *webhook) fields() []field {
	var targets []string
	for _, t := range w.targets {
		text := t.address
		if !strings.HasSuffix(text, webhookPath) {
			text = "(another address)" // made by hand, and with some services the secret itself
		}
		if text += " " + t.kind + " " + t.format; t.skipVerify {
			text += ", without verifying its certificate"
		}
		targets = append(targets, text)
	}
	return []field{{"events", set(w.events)}, {"targets", strings.Join(targets, "; ")}, {"disabled", strconv.FormatBool(w.disabled)}, {"description", w.description}}
}
