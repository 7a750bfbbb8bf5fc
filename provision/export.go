package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
)

// ExportOptions say what to export.
type ExportOptions struct {
	Domain   string
	Harbors  map[string]string // addresses, by the datacenter's name
	Username string
	Password string
	CA       string // file of the CA that signs the Harbors' certificates; "": the system's
	// Secret is where secrets are to be found, for Harbor shows none: a reference with
	// {what} in it, as vault:secret/harbor#{what}.
	Secret  string
	Waiting func(string) // is told who is waited for; nil: nobody is
	// Progress is told which Harbor is read, after how many of how many; nil: nobody is.
	Progress func(done, of int, what string)

	adjust func(*harbor) // nil: they stay as they are
	Vault  string        // the address of the Vault that Secret leads to; "": an example's, which is noted
}

// exporter writes what Harbors have as a fleet file.
type exporter struct {
	options ExportOptions
	names   []string // datacenters
	have    map[string]*having
	out     strings.Builder
	notes   []string
	found   []note              // of objects
	unsaid  map[string]bool     // projects of which it is said that they are not as they are
	own     map[string]declared // projects that are of a kind without its prefix
	entries map[declared]string // the way back
	left    map[string]bool     // fields of the fleet file, as projects.cache.hub, that it would not take: they are left out
}

// Export writes existing Harbors as a fleet file. What the fleet file cannot say, and so
// what an apply of it would change, is in the notes, all of it and once. For what apply
// made the file plans to nothing.
func Export(ctx context.Context, o ExportOptions) (file string, notes []string, err error) {
	if !strings.Contains(o.Secret, "{what}") {
		return "", nil, errors.New("the reference to secrets has no {what} in it, and all would be one: write file:/etc/breakwater/secrets/{what}")
	}
	if len(o.Harbors) == 0 {
		return "", nil, errors.New("there is no Harbor to export")
	}
	trust, err := tlsOf(o.CA)
	if err != nil {
		return "", nil, err
	}
	x := &exporter{options: o, names: sortedKeys(o.Harbors), have: map[string]*having{}, left: map[string]bool{}}
	for i, name := range x.names {
		if o.Progress != nil {
			o.Progress(i, len(x.names), "reading the Harbor of "+name)
		}
		h, err := newHarbor(address(o.Harbors[name]), o.Username, o.Password, trust)
		if err != nil {
			return "", nil, err
		}
		defer h.close()
		if h.name, h.waiting = name, o.Waiting; o.adjust != nil {
			o.adjust(h)
		}
		if x.have[name], err = h.read(ctx, name, nil); err != nil {
			return "", nil, fmt.Errorf("%s: %s", name, h.faultOf(err))
		}
	}
	x.declare()
	f, err := x.loadable()
	if err != nil {
		return "", nil, err
	}
	x.rest(f)
	return x.out.String(), x.notes, nil
}

func (x *exporter) line(depth int, format string, args ...any) {
	fmt.Fprintf(&x.out, strings.Repeat("  ", depth)+format+"\n", args...)
}

func (x *exporter) secret(what string) string {
	return strconv.Quote(strings.ReplaceAll(x.options.Secret, "{what}", what))
}

// first is the object in the first datacenter that has it.
func (x *exporter) first(kind, name string) *entry {
	if h := x.have[x.at(kind, name).Datacenter]; h != nil {
		return h.get(kind, name)
	}
	return nil
}

// at is the object's key in the first datacenter that has it.
func (x *exporter) at(kind, name string) Key {
	for _, datacenter := range x.names {
		if x.have[datacenter].get(kind, name) != nil {
			return Key{datacenter, kind, name}
		}
	}
	return Key{Kind: kind, Name: name}
}

// all are the names of a kind, in any datacenter.
func (x *exporter) all(kind string) []string {
	names := map[string]bool{}
	for _, h := range x.have {
		for k := range h.entries {
			if k.Kind == kind {
				names[k.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (x *exporter) write() {
	x.line(0, "# Written by breakwater provision export. Harbor shows no secrets: put them where the references say.")
	x.line(0, "domain: %q\ndatacenters:", x.options.Domain)
	var unknown []string
	for _, name := range x.names {
		fields := fmt.Sprintf("harbor: %q", address(x.options.Harbors[name]))
		if edge := x.edge(name); edge != "" {
			x.line(1, "%s: { %s, edge: %q }", key(name), fields, edge)
		} else {
			x.line(1, "%s: { %s }  # and edge: \"https://…\", once there is one", key(name), fields)
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		x.note("%s: no webhook of breakwater's says where the edge is: write datacenters.<name>.edge, where there is one", strings.Join(unknown, ", "))
	}
	x.writeVault()
	x.line(0, "harbor:\n  username: %q\n  password: %s", x.options.Username, x.secret("admin-password"))
	if x.options.CA != "" {
		x.line(1, "ca: %q", x.options.CA)
	}
	if prefix := x.have[x.names[0]].prefix; prefix != "robot$" {
		x.line(1, "robot_prefix: %q", prefix)
	}
	if name := x.groupsRobot(); name != "" {
		x.line(1, "sync_robot: { name: %q, secret: %s }", name, x.secret("robot-password/sync"))
	}
	x.writeOIDC()
	x.writeSystem()
	x.line(0, "projects:")
	x.writeMultiDCs()
	x.writeCaches()
	x.writeRepls()
	x.writeEdge()
}

// edgesOwn is how the description of the edge's robot begins.
const edgesOwn = "The edge's own"

func (x *exporter) writeOIDC() {
	e := x.first(kindConfiguration, "oidc")
	if e == nil {
		x.notes = append(x.notes, "this account may not see the configuration: how people log in is left out")
		return
	}
	c := e.object.(configuration)
	if c["auth_mode"] != "oidc_auth" || x.left["harbor.oidc"] {
		return
	}
	x.line(1, "oidc:")
	for _, f := range []struct{ key, field string }{{"oidc_name", "name"}, {"oidc_endpoint", "endpoint"}, {"oidc_client_id", "client_id"}, {"oidc_scope", "scope"},
		{"oidc_user_claim", "user_claim"}, {"oidc_groups_claim", "groups_claim"}, {"oidc_admin_group", "admin_group"}} {
		if v := c[f.key]; v != "" {
			x.line(2, "%s: %q", f.field, v)
		}
	}
	x.line(2, "auto_onboard: %s\n    client_secret: %s", c["oidc_auto_onboard"], x.secret("oidc-client-secret"))
}

// settings are a project's fields that all kinds have, as one datacenter has them.
func (x *exporter) settings(datacenter, name string) []string {
	h := x.have[datacenter]
	e := h.get(kindProject, name)
	if e == nil {
		return nil
	}
	p := e.object.(*project)
	all := []string{"quota: " + bytesText(p.quota), "auto_scan: " + strconv.FormatBool(p.autoScan)}
	if x.kindOf(name) == naming.MultiDC {
		all = append(all, x.multiDC(datacenter, name)...)
	} else if p.public {
		all = append(all, "public: true")
	}
	keeps := "always: true" // without a retention, or with one that cannot be said: nothing of it may go
	if r := h.get(kindRetention, name); r != nil && !r.broken {
		keeps = r.object.(*retention).said()
	}
	all = append(all, "retention: { "+keeps+" }")
	var groups, tags []string
	for _, k := range slices.SortedFunc(maps.Keys(h.entries), Key.compare) {
		of, rest, _ := strings.Cut(k.Name, " ")
		if of != name {
			continue
		}
		switch o := h.entries[k].object.(type) {
		case *member:
			if !o.person && roles[o.role] != 0 {
				groups = append(groups, fmt.Sprintf("{ group: %q, role: %s }", rest, o.role))
			}
		case *immutable:
			if o.pattern != "" && !o.disabled && x.kindOf(name) == naming.MultiDC {
				tags = append(tags, strconv.Quote(rest))
			}
		}
	}
	if len(groups) > 0 {
		all = append(all, "members: ["+strings.Join(groups, ", ")+"]")
	}
	if len(tags) > 0 {
		all = append(all, "immutable_tags: ["+strings.Join(tags, ", ")+"]")
	}
	return all
}

// said is the retention as a fleet file has it. One with a rule that cannot be said is said
// to keep everything.
func (r *retention) said() string {
	var all []string
	for _, one := range r.rules {
		field, unit := map[string]string{"nDaysSinceLastPull": "pulled_within", "nDaysSinceLastPush": "pushed_within", "latestPulledN": "most_recently_pulled", "latestPushedK": "most_recently_pushed", "always": "always"}[one.template], ""
		if strings.HasPrefix(one.template, "nDays") {
			unit = "d"
		}
		switch {
		case field == "" || one.disabled || one.selects != everything && one.template != "always":
			return "always: true"
		case field == "always":
			all = append(all, "always: true")
		default:
			all = append(all, fmt.Sprintf("%s: %d%s", field, one.n, unit))
		}
	}
	if len(all) == 0 { // rules are what keeps
		return "always: true"
	}
	return strings.Join(all, ", ")
}

// project writes one project: what the first datacenter has, what only it has, and
// what differs in others.
func (x *exporter) project(full, name string, fields ...string) {
	home := ""
	for _, datacenter := range x.names {
		if x.have[datacenter].get(kindProject, full) != nil {
			home = cmp.Or(home, datacenter)
		}
	}
	base := x.settings(home, full)
	all := append(slices.Clone(base), fields...)
	preheats, everywhere := x.preheats(full, home)
	if everywhere != "" {
		all = append(all, everywhere)
	}
	var differ []string
	for _, datacenter := range x.names {
		var other []string
		if datacenter != home { // what that has is said above
			other = slices.DeleteFunc(x.settings(datacenter, full), func(s string) bool { return slices.Contains(base, s) })
		}
		if text := preheats[datacenter]; text != "" && text != everywhere {
			other = append(other, text)
		}
		if len(other) > 0 {
			differ = append(differ, fmt.Sprintf("%s: { %s }", datacenter, strings.Join(other, ", ")))
		}
	}
	if len(differ) > 0 {
		all = append(all, "datacenters: { "+strings.Join(differ, ", ")+" }")
	}
	if x.own[full].kind != "" {
		all = append([]string{"project: " + strconv.Quote(full)}, all...)
	}
	x.line(2, "%s: { %s }", key(name), strings.Join(all, ", "))
}

func (x *exporter) writeMultiDCs() {
	names := x.projects(naming.MultiDC)
	if len(names) == 0 {
		return
	}
	x.line(1, "multi-dc:")
	x.writeGroups()
	for _, name := range names {
		full := x.full(naming.MultiDC, name)
		if x.public(full) {
			continue
		}
		var robots []string
		for _, robot := range []struct{ name, what string }{{"readonly", "readonly"}, {"readwrite", "readwrite"}, {"sync", "replication"}} {
			if x.first(kindRobot, full+"+"+robot.name) != nil {
				robots = append(robots, fmt.Sprintf("%s: %s", robot.name, x.secret("robot-password/"+robot.what+"/"+name)))
			}
		}
		fields := []string{"robots: { " + strings.Join(robots, ", ") + " }"}
		x.project(full, name, fields...)
	}
}

// duration writes an interval as the fleet file does.
func duration(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

func (x *exporter) writeCaches() {
	names := x.projects(naming.Cache)
	if len(names) == 0 {
		return
	}
	x.line(1, "cache:")
	for _, name := range names {
		full := x.full(naming.Cache, name)
		of := x.first(kindProject, full).object.(*project).registry
		e := x.first(kindRegistry, of)
		if e == nil || of != name {
			x.unsaid[full] = true
			why := "it is left out, being no cache of a registry"
			if of != "" {
				why = fmt.Sprintf("it is left out: its registry is %q, and breakwater gives that the project's own name, without %s", of, naming.Cache)
			}
			x.noteOf(x.at(kindProject, full), why)
			continue
		}
		r := e.object.(*registry)
		fields := []string{"provider: " + r.kind, fmt.Sprintf("endpoint: %q", strings.TrimRight(r.url, "/"))}
		if text := strings.TrimSuffix(strings.TrimSuffix(r.description, mark), " "); text != "" {
			fields = append(fields, fmt.Sprintf("description: %q", text))
		}
		if r.user != "" {
			fields = append(fields, fmt.Sprintf("username: %q, password: %s", r.user, x.secret("cache-password/"+name)))
		}
		x.project(full, name, fields...)
	}
}

func (x *exporter) writeRepls() {
	names := x.projects(naming.Repl)
	if len(names) == 0 {
		return
	}
	x.line(1, "repl:")
	for _, name := range names {
		full := x.full(naming.Repl, name)
		var images, choices []string
		for _, rule := range x.all(kindPolicy) {
			p := x.first(kindPolicy, rule).object.(*policy)
			if p.namespace != full || p.from == "" {
				continue
			}
			filters := map[string]string{}
			for _, f := range p.filters {
				filters[f.kind] = fmt.Sprint(f.value)
			}
			flatten := strconv.Itoa(int(p.flatten))
			if p.flatten == naming.FlattenAll {
				flatten = "all"
			}
			every := cmp.Or(interval(p.cron), 24*time.Hour)
			choices = p.choices()
			images = append(images, fmt.Sprintf("{ from: %q, name: %q, tags: %q, every: %s, flatten: %s }", p.from, filters["name"], cmp.Or(filters["tag"], "**"), duration(every), flatten))
		}
		if len(images) == 0 {
			x.unsaid[full] = true
			x.noteOf(x.at(kindProject, full), "it is left out: there is no replication into it")
			continue
		}
		x.project(full, name, append(choices, "images: ["+strings.Join(images, ", ")+"]")...)
	}
}
