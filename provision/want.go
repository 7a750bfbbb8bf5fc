package provision

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// mark is in the description of what breakwater made: only such things are pruned.
const mark = "(managed by breakwater)"

func marked(description string) string {
	if description == "" {
		return mark
	}
	return description + " " + mark
}

// wanted is the desired state of the whole fleet.
type wanted struct {
	objects map[Key]object
	secrets map[Key]string // of robots, registries and the configuration
	needs   map[Key][]Key  // what must be there before
	fleet   *fleet.Fleet
	wrong   []note // with objects, which Harbor would not take
	faults  []error
}

// wanting is what the fleet file alone does not say.
type wanting struct {
	fleet    *fleet.Fleet
	secret   func(ref fleet.Ref, project string) string // its errors are gathered elsewhere
	prefixes map[string]string                          // of robots' names, by datacenter
	keys     []string                                   // Artifactory's repositories
}

func (w *wanting) text(t fleet.Text) string {
	if t.Ref.IsZero() {
		return t.Value
	}
	return w.secret(t.Ref, "")
}

// wants is the desired state: a pure function of its inputs.
func (w *wanting) wants() *wanted {
	f := w.fleet
	d := &wanted{objects: map[Key]object{}, secrets: map[Key]string{}, needs: map[Key][]Key{}, fleet: f}
	var reads []Key
	if a := f.Projects.Artifactory; a != nil && !a.AdminToken.IsZero() && !a.Username.IsZero() {
		name := w.text(a.Username)
		reads = []Key{{atArtifactory, kindUser, name}}
		d.add(reads[0], &reader{name, name + "@" + a.Domain, []string{"readers"}})
		d.secrets[reads[0]] = w.secret(a.Password, "")
	}
	for name := range f.Datacenters {
		w.wantAt(d, name, reads)
	}
	return d
}

// wantAt wants what is to be at one datacenter.
func (w *wanting) wantAt(d *wanted, name string, reads []Key) {
	f := w.fleet
	if f.Harbor.OIDC != nil {
		w.wantOIDC(d, name)
	}
	w.wantSystem(d, name)
	w.wantInstance(d, name)
	for _, x := range sortedKeys(f.Projects.Cache.Items) {
		w.wantCache(d, name, x, f.Projects.Cache.Items[x].In(name))
	}
	if a := f.Projects.Artifactory; a != nil {
		for _, key := range w.keys {
			w.wantCache(d, name, key, artifactoryCache(a, key), reads...)
		}
	}
	for _, x := range sortedKeys(f.Projects.Repl.Items) {
		w.wantRepl(d, name, x, f.Projects.Repl.Items[x].In(name))
	}
	for _, x := range sortedKeys(f.Projects.MultiDC.Items) {
		w.wantMultiDC(d, name, x, f.Projects.MultiDC.Items[x].In(name))
	}
	if f.Grouped() {
		w.wantGroups(d, name)
	}
	w.wantEdgeRobot(d, name)
}

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func (d *wanted) add(k Key, o object, needs ...Key) {
	d.objects[k] = o
	d.needs[k] = append(d.needs[k], needs...)
}

func (d *wanted) fault(k Key, format string, args ...any) {
	d.wrong = append(d.wrong, note{k, fmt.Errorf(format, args...).Error()})
}

// faultOnce notes what is wrong with the fleet as a whole.
func (d *wanted) faultOnce(err error) {
	if !slices.ContainsFunc(d.faults, func(f error) bool { return f.Error() == err.Error() }) {
		d.faults = append(d.faults, err)
	}
}

func (w *wanting) wantOIDC(d *wanted, datacenter string) {
	o := w.fleet.Harbor.OIDC
	k := Key{datacenter, kindConfiguration, "oidc"}
	c := configuration{
		"auth_mode": "oidc_auth", "oidc_name": o.Name, "oidc_endpoint": string(o.Endpoint), "oidc_client_id": w.text(o.ClientID), "oidc_scope": o.Scope,
		"oidc_user_claim": o.UserClaim, "oidc_auto_onboard": strconv.FormatBool(*o.AutoOnboard), "oidc_verify_cert": "true",
	}
	if o.GroupsClaim != "" {
		c["oidc_groups_claim"] = o.GroupsClaim
	}
	if o.AdminGroup != "" {
		c["oidc_admin_group"] = o.AdminGroup
	}
	d.add(k, c)
	d.secrets[k] = w.secret(o.ClientSecret, "")
}

// wantSystem wants what concerns the whole Harbor, as far as the fleet file says it.
func (w *wanting) wantSystem(d *wanted, datacenter string) {
	settings, c := w.fleet.Harbor.Settings, configuration{}
	if settings.ProjectCreation != "" {
		c["project_creation_restriction"] = settings.ProjectCreation
	}
	for key, v := range map[string]fleet.Duration{"token_expiration": settings.TokenLifetime, "session_timeout": settings.SessionTimeout} {
		if v != 0 {
			c[key] = strconv.Itoa(int(time.Duration(v) / time.Minute))
		}
	}
	if len(c) > 0 {
		d.add(Key{datacenter, kindConfiguration, "settings"}, c)
	}
	if gc := w.fleet.Harbor.GC; gc != nil {
		k := Key{datacenter, kindGC, "schedule"}
		schedule, err := cron(time.Duration(gc.Every), k.String())
		if err != nil {
			d.fault(k, "%w", err)
		}
		d.add(k, &collection{schedule, gc.Untagged})
	}
}

// common is what projects of all kinds have.
type common struct {
	project
	retention *fleet.Retention
	members   []fleet.Member
	immutable []string
}

func (w *wanting) wantProject(d *wanted, datacenter string, c common, scan *bool, needs ...Key) Key {
	if scan == nil {
		scan = w.fleet.Datacenters[datacenter].ProjectDefaults.AutoScan
	}
	c.autoScan = scan == nil || *scan
	k := Key{datacenter, kindProject, c.name}
	if !naming.ValidProject(c.name) {
		d.fault(k, "Harbor takes no project of that name: lower-case letters and digits, single . _ - among them")
	}
	d.add(k, &c.project, needs...)
	d.add(Key{datacenter, kindRetention, c.name}, retentionOf(c.retention), k)
	for _, pattern := range c.immutable {
		d.add(Key{datacenter, kindImmutable, c.name + " " + pattern}, &immutable{pattern: pattern}, k)
	}
	for _, m := range c.members {
		needs := []Key{k}
		if oidc := (Key{datacenter, kindConfiguration, "oidc"}); d.objects[oidc] != nil { // groups are known only then
			needs = append(needs, oidc)
		}
		d.add(Key{datacenter, kindMember, c.name + " " + m.Group}, &member{group: m.Group, role: m.Role}, needs...)
	}
	return k
}

func retentionOf(r *fleet.Retention) *retention {
	out := &retention{algorithm: "or", cron: daily}
	add := func(template string, n int64) {
		if n != 0 {
			out.rules = append(out.rules, rule{template: template, n: n, selects: everything})
		}
	}
	const day = fleet.Duration(24 * time.Hour)
	add("nDaysSinceLastPull", int64(r.PulledWithin/day))
	add("latestPulledN", int64(r.MostRecentlyPulled))
	add("nDaysSinceLastPush", int64(r.PushedWithin/day))
	add("latestPushedK", int64(r.MostRecentlyPushed))
	if r.Always {
		out.rules = append(out.rules, rule{template: "always", selects: everything})
	}
	return out
}

func (w *wanting) wantCache(d *wanted, datacenter, name string, c *fleet.Cache, needs ...Key) {
	at := Key{datacenter, kindRegistry, name}
	kind := c.Provider
	d.add(at, &registry{name: name, kind: kind, url: string(c.Endpoint), description: marked(c.Description), user: w.text(c.Username)}, needs...)
	if !c.Password.IsZero() {
		d.secrets[at] = w.secret(c.Password, name)
	}
	if len(name) > maxRegistryName {
		d.fault(at, "the name is longer than %d characters", maxRegistryName)
	}
	made := w.wantProject(d, datacenter, common{
		project:   project{name: w.fleet.Project(naming.Cache, name), public: isTrue(c.Public), quota: int64(c.Quota), registry: name, keeps: w.keeps(datacenter, name, c)},
		retention: c.Retention, members: c.Members,
	}, c.AutoScan, at)
	w.wantPreheat(d, datacenter, made.Name, c.Preheat, made)
}

// keeps is whether Harbor is to serve what the upstream has deleted, where the fleet file says so.
func (w *wanting) keeps(datacenter, name string, c *fleet.Cache) string {
	at := "projects.cache." + name
	for _, path := range []string{at, at + ".datacenters." + datacenter, "projects.cache.defaults"} {
		if w.fleet.Written(path + ".keep_deleted") {
			return strconv.FormatBool(*c.Keep != 0)
		}
	}
	return ""
}

const maxRegistryName = 64 // of Harbor, registries' names

func isTrue(b *bool) bool { return b != nil && *b }

// artifactoryCache is the cache of one of Artifactory's repositories.
func artifactoryCache(a *fleet.Artifactory, key string) *fleet.Cache {
	c := a.Defaults
	c.Provider, c.Endpoint = "docker-registry", fleet.Endpoint("https://"+key+"."+a.Domain)
	c.Username, c.Password = a.Username, a.Password
	if c.Description == "" {
		c.Description = "Artifactory " + key
	}
	return &c
}

func (w *wanting) wantRepl(d *wanted, datacenter, name string, r *fleet.Repl) {
	project := Key{datacenter, kindProject, w.fleet.Project(naming.Repl, name)}
	w.wantProject(d, datacenter, common{project: projectOf(project.Name, r.Public, r.Quota), retention: r.Retention, members: r.Members}, r.AutoScan)
	w.wantPreheat(d, datacenter, project.Name, r.Preheat, project)
	for _, image := range r.Images {
		k := Key{datacenter, kindPolicy, policyOf(image, name)}
		if _, taken := d.objects[k]; taken { // a second rule for the same image
			k.Name += " " + image.Tags
		}
		schedule, err := cron(time.Duration(image.Every), datacenter+k.Name)
		if err != nil {
			d.fault(k, "%w", err)
		}
		d.add(k, &policy{
			name: k.Name, description: mark, from: image.From, trigger: "scheduled", cron: schedule, namespace: project.Name, flatten: image.Flatten.Count,
			filters: []filter{{kind: filterName, value: image.Name}, {kind: filterTag, value: image.Tags}}, override: true,
			single: saidBool(r.Single), byChunk: saidBool(r.ByChunk),
		}, project, Key{datacenter, kindRegistry, image.From})
	}
}

func projectOf(name string, public *bool, quota fleet.Size) project {
	return project{name: name, public: isTrue(public), quota: int64(quota)}
}

// checkSecret reports a secret that Harbor would refuse when the robot is there already.
func (w *wanting) checkSecret(d *wanted, k Key) {
	if s := d.secrets[k]; s != "" && !strongSecret(s) {
		d.fault(k, "its secret must have 8 to 128 characters, an upper-case and a lower-case letter and a digit among them: Harbor takes no other")
	}
}

func strongSecret(s string) bool {
	in := func(from, to rune) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return from <= r && r <= to })
	}
	return len(s) >= 8 && len(s) <= 128 && in('A', 'Z') && in('a', 'z') && in('0', '9')
}
