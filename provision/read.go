package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	clientproject "github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	clientquota "github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/systeminfo"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/naming"
)

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
	have.silent = got.Payload.NotificationEnable != nil && !*got.Payload.NotificationEnable
	return nil
}

// read is what a Harbor has of what is wanted, and everything beside it that could be
// ours. Without a want it is everything.
func (h *harbor) read(ctx context.Context, datacenter string, want *wanted) (*having, error) {
	have := &having{datacenter: datacenter, prefix: h.prefix, account: h.user, entries: map[Key]*entry{}, quotas: map[string]quotaOf{}, unsaid: map[string][]string{}}
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
	g.Go(func() error { return h.readInstance(all, have) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	wants := map[string][]string{"oidc": oidcKeys, "settings": settingKeys}
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
	g.SetLimit(readsAtOnce)
	g.Go(func() error { return h.readRobots(all, have, "", 0) })
	if want == nil || want.objects[Key{datacenter, kindGC, "schedule"}] != nil {
		g.Go(func() error { return h.readGC(all, have) })
	}
	parts := want.parts(datacenter)
	have.shallow = len(parts) > lookedInto
	for _, p := range projects {
		have.unsaid[p.Name] = unsaid(p)
		o := projectRead(p, have.quotas[p.Name].hard, registries)
		have.put(kindProject, p.Name, &entry{id: int64(p.ProjectID), object: o})
		if want.keeps(datacenter, p.Name) {
			g.Go(func() error { return h.readKeeps(all, have.version, int64(p.ProjectID), o) })
		}
		switch part := parts[p.Name]; {
		case want == nil:
			h.readProject(all, g, have, parted{true, true, true, true, false}, true, p)
		case part != nil:
			h.readProject(all, g, have, *part, !have.shallow, p)
		}
	}
	return have, g.Wait()
}

// lookedInto is in how many projects of a Harbor everything is read, also what the fleet
// file does not say. In more of them Harbor, which has no lists of such things, would be
// asked for minutes.
const lookedInto = 200

// parted says what of a project is read.
type parted struct{ robots, members, rules, webhooks, preheats bool }

// parts are what of each project is wanted, by its name.
func (d *wanted) parts(datacenter string) map[string]*parted {
	all := map[string]*parted{}
	if d == nil {
		return all
	}
	of := func(name string) *parted {
		if all[name] == nil {
			all[name] = &parted{}
		}
		return all[name]
	}
	for k := range d.objects {
		if k.Datacenter != datacenter {
			continue
		}
		name, _, _ := strings.Cut(k.Name, " ")
		switch k.Kind {
		case kindProject:
			of(name)
		case kindRobot:
			if project, _, ok := strings.Cut(k.Name, "+"); ok {
				of(project).robots = true
			}
		case kindMember:
			of(name).members = true
		case kindImmutable:
			of(name).rules = true
		case kindWebhook:
			of(name).webhooks = true
		case kindPreheat:
			of(name).preheats = true
		}
	}
	return all
}

func projectRead(p *models.Project, quota int64, registries map[int64]string) *project {
	m := cmp.Or(p.Metadata, &models.ProjectMetadata{})
	out := &project{name: p.Name, public: m.Public == "true", autoScan: deref(m.AutoScan) == "true", quota: quota}
	if p.RegistryID != 0 {
		out.registry = cmp.Or(registries[p.RegistryID], "a registry that is gone")
	}
	return out
}

// keeps reports whether the fleet file says of a cache whether it serves what its upstream has deleted.
func (d *wanted) keeps(datacenter, name string) bool {
	if d == nil {
		return false
	}
	p, ok := d.objects[Key{datacenter, kindProject, name}].(*project)
	return ok && p.keeps != ""
}

// readKeeps reads whether a proxy cache serves what its upstream has deleted, which go-client's
// models do not say. A project that was never told either does not.
func (h *harbor) readKeeps(ctx context.Context, version string, id int64, o *project) error {
	var metadata map[string]string
	if _, err := h.call(ctx, http.MethodGet, fmt.Sprintf("/projects/%d/metadatas/", id), nil, &metadata); err != nil {
		return fmt.Errorf("read the metadata of project %s: %w", o.name, err)
	}
	var major, minor, patch int
	o.keeps = metadata[fieldKeeps]
	if n, _ := fmt.Sscanf(version, "v%d.%d.%d", &major, &minor, &patch); o.keeps == "" && n == 3 && (major > 2 || major == 2 && (minor > 15 || minor == 15 && patch >= 1)) {
		o.keeps = "false"
	}
	return nil
}

// unsaid are the settings of a project that the fleet file does not have, where they are
// not as projects are born.
func unsaid(p *models.Project) (all []string) {
	m := cmp.Or(p.Metadata, &models.ProjectMetadata{})
	for _, f := range []struct {
		name  string
		value *string
		born  string
	}{{"enable_content_trust", m.EnableContentTrust, "false"}, {"enable_content_trust_cosign", m.EnableContentTrustCosign, "false"}, {"prevent_vul", m.PreventVul, "false"},
		{"auto_sbom_generation", m.AutoSbomGeneration, "false"}, {"reuse_sys_cve_allowlist", m.ReuseSysCVEAllowlist, "true"}, {"proxy_speed_kb", m.ProxySpeedKb, "-1"}} {
		if v := deref(f.value); v != "" && v != f.born {
			all = append(all, f.name+": "+v)
		}
	}
	if deref(m.PreventVul) == "true" {
		all = append(all, "severity: "+deref(m.Severity))
	}
	if c := p.CVEAllowlist; c != nil && len(c.Items) > 0 {
		all = append(all, "an allowlist of "+Counted(len(c.Items), "CVE"))
	}
	return all
}

// readProject reads what hangs on a project, as far as it is wanted, or everything. That
// an account may not see what is not wanted does not matter.
func (h *harbor) readProject(ctx context.Context, g *errgroup.Group, have *having, part parted, everything bool, p *models.Project) {
	read := func(wanted bool, do func() error) {
		if wanted || everything {
			g.Go(func() error {
				err := do()
				if isCode(err, 403) && !wanted {
					return nil
				}
				return err
			})
		}
	}
	if m := p.Metadata; m != nil && deref(m.RetentionID) != "" {
		g.Go(func() error { return h.readRetention(ctx, have, p.Name, *m.RetentionID) })
	}
	read(part.robots, func() error { return h.readRobots(ctx, have, p.Name, int64(p.ProjectID)) })
	read(part.members, func() error { return h.readMembers(ctx, have, p) })
	read(part.rules, func() error { return h.readImmutable(ctx, have, p) })
	if have.noPreheat == 0 && (part.preheats || everything && have.get(kindInstance, preheatName) != nil) {
		read(part.preheats, func() error { return h.preheatPolicies(ctx, have, p.Name) })
	}
	if kind := naming.KindOf(p.Name); part.webhooks || everything && kind != naming.Cache && kind != naming.Repl {
		g.Go(func() error { return h.readWebhook(ctx, have, p, part.webhooks) })
	}
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
	all, err := pages(func(page int64) (got []*policyShown, err error) {
		if _, err = h.call(ctx, http.MethodGet, fmt.Sprintf("/replication/policies?page=%d&page_size=%d", page, pageSize), nil, &got); err != nil {
			return nil, fmt.Errorf("list the replications: %w", plain(err))
		}
		return got, nil
	})
	for _, p := range all {
		have.put(kindPolicy, p.Name, &entry{id: p.ID, object: policyRead(p)})
	}
	return err
}

// policyShown is a replication as Harbor shows it, with what go-client does not know.
type policyShown struct {
	models.ReplicationPolicy
	Single *bool `json:"single_active_replication"`
}

func policyRead(p *policyShown) *policy {
	out := &policy{name: p.Name, description: p.Description, namespace: p.DestNamespace, flatten: naming.FlattenAll, disabled: !p.Enabled,
		override: p.Override, deletion: p.Deletion || p.ReplicateDeletion, speed: deref(p.Speed), single: saidBool(p.Single), byChunk: saidBool(p.CopyByChunk)}
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
		out.filters = append(out.filters, filter{f.Type, f.Value, f.Decoration})
	}
	return out
}
