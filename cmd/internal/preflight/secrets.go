package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/naming"
)

// reference is a reference of the fleet file and the field that it stands in.
type reference struct {
	field string
	ref   fleet.Ref
}

// references are those whose secrets the parts on this machine look up.
func (m *machine) references() (all []reference) {
	f := m.Fleet
	add := func(parts []Part, field string, ref fleet.Ref) {
		if !ref.IsZero() && slices.ContainsFunc(parts, m.needs) {
			all = append(all, reference{field, ref})
		}
	}
	edge, both, provision := []Part{Edge}, []Part{Edge, Provision}, []Part{Provision}
	add(edge, "edge.robot.secret", f.Edge.Robot.Secret)
	if !m.needs(Edge) {
		add(provision, "edge.robot.secret", f.Edge.Robot.Secret)
	}
	add(both, "edge.peers.key", f.Edge.Peers.Key)
	add(both, "edge.peers.previous_key", f.Edge.Peers.PreviousKey)
	if c := &f.Edge.Console; c.Listen != "" {
		add(edge, "edge.console.client_id", c.ClientID.Ref)
		add(edge, "edge.console.client_secret", c.ClientSecret)
	}
	if f.GSLB != nil {
		add([]Part{GSLB}, "gslb.key", f.GSLB.Key)
		add([]Part{GSLB}, "gslb.previous_key", f.GSLB.PreviousKey)
	}
	add(provision, "harbor.username", f.Harbor.Username.Ref)
	add(provision, "harbor.password", f.Harbor.Password)
	if o := f.Harbor.OIDC; o != nil {
		add(provision, "harbor.oidc.client_id", o.ClientID.Ref)
		add(provision, "harbor.oidc.client_secret", o.ClientSecret)
	}
	if f.Grouped() {
		add(provision, "harbor.sync_robot.secret", f.Harbor.SyncRobot.Secret)
	}
	for _, name := range sorted(f.Projects.Cache.Items) {
		c, path := f.Projects.Cache.Items[name].In(m.Datacenter), "projects.cache."+name
		add(both, path+".username", c.Username.Ref)
		add(both, path+".password", named(c.Password, name))
	}
	for _, name := range sorted(f.Projects.MultiDC.Items) {
		p, path := f.Projects.MultiDC.Items[name].In(m.Datacenter), "projects.multi-dc."+name+".robots"
		add(provision, path+".readonly", named(p.Robots.ReadOnly, name))
		add(provision, path+".readwrite", named(p.Robots.ReadWrite, name))
		if !f.Grouped() {
			add(provision, path+".sync", named(p.Robots.Sync, name))
		}
	}
	if a := f.Projects.Artifactory; a != nil {
		add(provision, "projects.artifactory.username", a.Username.Ref)
		add(provision, "projects.artifactory.password", a.Password)
		add(provision, "projects.artifactory.admin_token", a.AdminToken)
	}
	return all
}

// named is a reference of a project's, whose name {name} stands for.
func named(ref fleet.Ref, project string) fleet.Ref {
	ref.Path, ref.Key = strings.ReplaceAll(ref.Path, "{name}", project), strings.ReplaceAll(ref.Key, "{name}", project)
	return ref
}

// trySecrets looks all of them up, and says which cannot be had, each with its field.
func (m *machine) trySecrets(ctx context.Context, r *results) {
	looked, later := 0, 0
	for _, one := range m.references() {
		if one.ref.Scheme == "vault" && m.Depth == Offline {
			later++
			continue
		}
		looked++
		value, err := m.lookUp(ctx, one.ref)
		if err != nil {
			r.fault("missing", one.field, fmt.Sprintf("%s: %s", m.Fleet.Where(one.field), oneLine(err)), secretAdvice(one.ref))
		} else if err := keyring.Check(value); err != nil && slices.Contains(sharedKeys, one.field) {
			r.fault("short", one.field, fmt.Sprintf("%s: %s", one.field, oneLine(err)), "write another one, the same for all that share it; previous_key lets the one before count meanwhile")
		}
	}
	r.say("references that lead to a secret: %d", looked)
	if later > 0 {
		r.say("%d of Vault's not looked up here; doctor does", later)
	}
}

// sharedKeys are the fields of keys that daemons share, and must not be guessed.
var sharedKeys = []string{"edge.peers.key", "edge.peers.previous_key", "gslb.key", "gslb.previous_key"}

func secretAdvice(ref fleet.Ref) string {
	switch ref.Scheme {
	case "env":
		return "set " + ref.Path + " in the environment of the daemon, or write where the secret is"
	case "file":
		return "write the secret into " + ref.Path + ", readable for the user that breakwater runs as"
	}
	return "write the secret into Vault, and let secrets.vault.login read it"
}

// upstreamOf is a cache whose upstream the edge can ask itself.
type upstreamOf struct {
	project, field string
	*fleet.Cache
}

func (m *machine) upstreams() (all []upstreamOf) {
	for _, name := range sorted(m.Fleet.Projects.Cache.Items) {
		c := *m.Fleet.Projects.Cache.Items[name].In(m.Datacenter)
		c.Password = named(c.Password, name)
		all = append(all, upstreamOf{m.Fleet.Project(naming.Cache, name), "projects.cache." + name, &c})
	}
	return all
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// oneLine is an error as one line of a table.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
