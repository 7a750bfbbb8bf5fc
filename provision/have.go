package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	clientproject "github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	clientquota "github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/systeminfo"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/naming"
)

const pageSize = 100 // the most that Harbor gives

// entry is an object that a Harbor has.
type entry struct {
	object
	id     int64
	secret proof
	whyNot string // secret is unproven because of this
	broken bool   // a retention that the project names and that is not there
}

// proof says what is known of a secret that Harbor holds.
type proof int

const (
	unproven proof = iota // it was not tried, or could not be
	proven                // it is the fleet file's
	differs               // it is another one
)

// having is what one Harbor has.
type having struct {
	datacenter string
	prefix     string // of robots' names
	version    string // as v2.15.2-080b0220; "": this account is not told
	mu         sync.Mutex
	entries    map[Key]*entry
	quotas     map[string]quotaOf // by project
}

type quotaOf struct{ id, hard int64 }

func (h *having) put(kind, name string, e *entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries[Key{h.datacenter, kind, name}] = e
}

func (h *having) get(kind, name string) *entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[Key{h.datacenter, kind, name}]
}

// pages calls get for page after page until one is not full.
func pages[T any](get func(page int64) ([]T, error)) (all []T, err error) {
	for page := int64(1); ; page++ {
		got, err := get(page)
		if err != nil {
			return nil, err
		}
		if all = append(all, got...); len(got) < pageSize {
			return all, nil
		}
	}
}

func ptr[T any](v T) *T { return &v }

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// readConfiguration reads the configuration and what it says of robots' names. An
// account that may not see it is told nothing: the fleet file's prefix holds.
func (h *harbor) readConfiguration(ctx context.Context, have *having) (*models.ConfigurationsResponse, error) {
	got, err := h.api.Configure.GetConfigurations(ctx, configure.NewGetConfigurationsParams())
	switch {
	case isCode(err, 403):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the configuration: %w", plain(err))
	}
	if p := got.Payload.RobotNamePrefix; p != nil {
		have.prefix = cmp.Or(p.Value, have.prefix)
	}
	return got.Payload, nil
}

func (h *harbor) readVersion(ctx context.Context, have *having) error {
	got, err := h.api.Systeminfo.GetSystemInfo(ctx, systeminfo.NewGetSystemInfoParams())
	if err != nil {
		return fmt.Errorf("read the version: %w", plain(err))
	}
	have.version = deref(got.Payload.HarborVersion)
	return nil
}

// Harbor's versions whose API this was written and tried for.
const oldest, newest = 9, 15

// outside says that the Harbor's version is not one that this was written for.
func (h *having) outside() string {
	var major, minor int
	if n, _ := fmt.Sscanf(h.version, "v%d.%d", &major, &minor); n != 2 || major == 2 && minor >= oldest && minor <= newest {
		return ""
	}
	return fmt.Sprintf("%s: its Harbor is %s, and breakwater was tried with v2.%d to v2.%d: look at the plan twice", h.datacenter, h.version, oldest, newest)
}

// oidcKeys are the keys of the configuration that a fleet file may set.
var oidcKeys = []string{"auth_mode", "oidc_name", "oidc_endpoint", "oidc_client_id", "oidc_scope", "oidc_user_claim", "oidc_auto_onboard", "oidc_verify_cert", "oidc_groups_claim", "oidc_admin_group"}

// read is what a Harbor has of what is wanted, and everything beside it that could be
// ours. Without a want it is everything.
func (h *harbor) read(ctx context.Context, datacenter string, want *wanted) (*having, error) {
	have := &having{datacenter: datacenter, prefix: h.prefix, entries: map[Key]*entry{}, quotas: map[string]quotaOf{}}
	var config *models.ConfigurationsResponse
	var projects []*models.Project
	g, all := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		config, err = h.readConfiguration(all, have)
		return err
	})
	g.Go(func() error { return h.readVersion(all, have) })
	g.Go(func() (err error) {
		projects, err = h.readProjects(all)
		return err
	})
	g.Go(func() error { return h.readQuotas(all, have) })
	g.Go(func() error { return h.readRegistries(all, have) })
	g.Go(func() error { return h.readPolicies(all, have) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	wants := map[string][]string{"oidc": oidcKeys}
	if want != nil {
		wants = map[string][]string{}
		for k, o := range want.objects {
			if c, ok := o.(configuration); ok && k.Datacenter == datacenter {
				wants[k.Name] = slices.Collect(maps.Keys(c))
			}
		}
	}
	for name, keys := range wants {
		if config == nil {
			break
		}
		c, err := configurationOf(config, keys)
		if err != nil {
			return nil, err
		}
		have.put(kindConfiguration, name, &entry{object: c})
	}
	registries := map[int64]string{}
	for k, e := range have.entries {
		if k.Kind == kindRegistry {
			registries[e.id] = k.Name
		}
	}
	g, all = errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	g.Go(func() error { return h.readRobots(all, have, "", 0) })
	if want != nil && want.objects[Key{datacenter, kindGC, "schedule"}] != nil {
		g.Go(func() error { return h.readGC(all, have) })
	}
	for _, p := range projects {
		have.put(kindProject, p.Name, &entry{id: int64(p.ProjectID), object: projectRead(p, have.quotas[p.Name].hard, registries)})
		if want == nil || want.objects[Key{datacenter, kindProject, p.Name}] != nil {
			h.readProject(all, g, have, want, p)
		}
	}
	return have, g.Wait()
}

func projectRead(p *models.Project, quota int64, registries map[int64]string) *project {
	m := cmp.Or(p.Metadata, &models.ProjectMetadata{})
	out := &project{name: p.Name, public: m.Public == "true", autoScan: deref(m.AutoScan) == "true", quota: quota}
	if p.RegistryID != 0 {
		out.registry = cmp.Or(registries[p.RegistryID], "a registry that is gone")
	}
	return out
}

// readProject reads what hangs on a project, as far as it is wanted.
func (h *harbor) readProject(ctx context.Context, g *errgroup.Group, have *having, want *wanted, p *models.Project) {
	robots, members, rules := want == nil, want == nil, want == nil
	if want == nil {
		want = &wanted{}
	}
	for k := range want.objects {
		if k.Datacenter != have.datacenter {
			continue
		}
		of, _, _ := strings.Cut(k.Name, map[string]string{kindRobot: "+"}[k.Kind]+" ")
		switch k.Kind {
		case kindRobot:
			robots = robots || strings.HasPrefix(k.Name, p.Name+"+")
		case kindMember:
			members = members || of == p.Name
		case kindImmutable:
			rules = rules || of == p.Name
		}
	}
	if m := p.Metadata; m != nil && deref(m.RetentionID) != "" {
		g.Go(func() error { return h.readRetention(ctx, have, p.Name, *m.RetentionID) })
	}
	if robots {
		g.Go(func() error { return h.readRobots(ctx, have, p.Name, int64(p.ProjectID)) })
	}
	if members {
		g.Go(func() error { return h.readMembers(ctx, have, p) })
	}
	if rules {
		g.Go(func() error { return h.readImmutable(ctx, have, p) })
	}
}

func configurationOf(c *models.ConfigurationsResponse, keys []string) (configuration, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var items map[string]struct{ Value any }
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, err
	}
	have := configuration{}
	for _, k := range keys {
		have[k] = ""
		if v := items[k].Value; v != nil {
			have[k] = fmt.Sprint(v)
		}
	}
	return have, nil
}

func (h *harbor) readGC(ctx context.Context, have *having) error {
	got, err := h.api.GC.GetGCSchedule(ctx, gc.NewGetGCScheduleParams())
	if err != nil {
		return fmt.Errorf("read the schedule of garbage collection: %w", plain(err))
	}
	c := &collection{}
	if s := got.Payload; s != nil && s.Schedule != nil {
		c.cron = s.Schedule.Cron
		var parameters struct {
			Untagged bool `json:"delete_untagged"`
		}
		if s.JobParameters != "" {
			if err := json.Unmarshal([]byte(s.JobParameters), &parameters); err != nil {
				return fmt.Errorf("read the schedule of garbage collection: %w", err)
			}
		}
		c.untagged = parameters.Untagged
	}
	have.put(kindGC, "schedule", &entry{object: c})
	return nil
}

func (h *harbor) readProjects(ctx context.Context) ([]*models.Project, error) {
	return pages(func(page int64) ([]*models.Project, error) {
		got, err := h.api.Project.ListProjects(ctx, clientproject.NewListProjectsParams().WithPage(&page).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return nil, fmt.Errorf("list the projects: %w", plain(err))
		}
		return got.Payload, nil
	})
}

func (h *harbor) readQuotas(ctx context.Context, have *having) error {
	all, err := pages(func(page int64) ([]*models.Quota, error) {
		got, err := h.api.Quota.ListQuotas(ctx, clientquota.NewListQuotasParams().WithReference(ptr("project")).WithPage(&page).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return nil, fmt.Errorf("list the quotas: %w", plain(err))
		}
		return got.Payload, nil
	})
	for _, q := range all {
		ref, _ := q.Ref.(map[string]any)
		name, _ := ref["name"].(string)
		have.quotas[name] = quotaOf{q.ID, q.Hard["storage"]}
	}
	return err
}

func (h *harbor) readRegistries(ctx context.Context, have *having) error {
	all, err := pages(func(page int64) ([]*models.Registry, error) {
		got, err := h.api.Registry.ListRegistries(ctx, clientregistry.NewListRegistriesParams().WithPage(&page).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return nil, fmt.Errorf("list the registries: %w", plain(err))
		}
		return got.Payload, nil
	})
	for _, r := range all {
		out := &registry{name: r.Name, kind: r.Type, url: r.URL, description: r.Description, insecure: r.Insecure}
		if r.Credential != nil {
			out.user = r.Credential.AccessKey
		}
		have.put(kindRegistry, r.Name, &entry{id: r.ID, object: out})
	}
	return err
}

func (h *harbor) readPolicies(ctx context.Context, have *having) error {
	all, err := pages(func(page int64) ([]*models.ReplicationPolicy, error) {
		got, err := h.api.Replication.ListReplicationPolicies(ctx, replication.NewListReplicationPoliciesParams().WithPage(&page).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return nil, fmt.Errorf("list the replications: %w", plain(err))
		}
		return got.Payload, nil
	})
	for _, p := range all {
		have.put(kindPolicy, p.Name, &entry{id: p.ID, object: policyRead(p)})
	}
	return err
}

func policyRead(p *models.ReplicationPolicy) *policy {
	out := &policy{name: p.Name, description: p.Description, namespace: p.DestNamespace, flatten: naming.FlattenAll, disabled: !p.Enabled,
		override: p.Override, deletion: p.Deletion || p.ReplicateDeletion, speed: deref(p.Speed)}
	if n := p.DestNamespaceReplaceCount; n != nil {
		out.flatten = naming.Flatten(*n)
	}
	if p.SrcRegistry != nil && p.SrcRegistry.ID != 0 {
		out.from = p.SrcRegistry.Name
	}
	if p.DestRegistry != nil && p.DestRegistry.ID != 0 {
		out.to = p.DestRegistry.Name
	}
	if t := p.Trigger; t != nil {
		out.trigger = t.Type
		if t.TriggerSettings != nil {
			out.cron = t.TriggerSettings.Cron
		}
	}
	for _, f := range p.Filters {
		text := fmt.Sprintf("%s %v", f.Type, f.Value)
		if f.Decoration != "" && f.Decoration != "matches" {
			text += " " + f.Decoration
		}
		out.filters = append(out.filters, text)
	}
	return out
}

// prove tries the secrets of what is there: robots log in, registries are pinged.
func (h *harbor) prove(ctx context.Context, have *having, want *wanted) error {
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, k := range slices.SortedFunc(maps.Keys(want.secrets), Key.compare) {
		e := have.get(k.Kind, k.Name)
		if k.Datacenter != have.datacenter || e == nil {
			continue
		}
		switch k.Kind {
		case kindRobot:
			if e.object.(*robot).disabled {
				continue // it logs in once it is enabled, and is proven then
			}
			g.Go(func() error {
				ok, err := h.proves(all, have.prefix+k.Name, want.secrets[k])
				e.found(ok, err)
				return nil
			})
		case kindRegistry:
			g.Go(func() error {
				h.proofs.Add(1)
				_, err := h.api.Registry.PingRegistry(all, clientregistry.NewPingRegistryParams().WithRegistry(&models.RegistryPing{ID: &e.id}))
				if !isCode(err, 400) {
					e.found(true, err)
					return nil
				}
				// It refuses the login that is stored, or is away: with ours it can be told.
				h.proofs.Add(1)
				ours := &models.RegistryPing{ID: &e.id, AccessKey: &want.objects[k].(*registry).user, AccessSecret: ptr(want.secrets[k])}
				_, err = h.api.Registry.PingRegistry(all, clientregistry.NewPingRegistryParams().WithRegistry(ours))
				e.found(false, err)
				return nil
			})
		}
	}
	return g.Wait()
}

func (e *entry) found(ok bool, err error) {
	switch {
	case err != nil:
		e.whyNot = plain(err).Error()
	case ok:
		e.secret = proven
	default:
		e.secret = differs
	}
}
