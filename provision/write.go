package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	clientimmutable "github.com/goharbor/go-client/pkg/sdk/v2.0/client/immutable"
	clientmember "github.com/goharbor/go-client/pkg/sdk/v2.0/client/member"
	clientproject "github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project_metadata"
	clientquota "github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	clientretention "github.com/goharbor/go-client/pkg/sdk/v2.0/client/retention"
	clientrobot "github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// writer does one change at one Harbor.
type writer struct {
	*harbor
	run    *run
	change Change
	prefix string
}

func (w *writer) key(kind, name string) Key { return Key{w.change.Datacenter, kind, name} }

func (w *writer) projectID(name string) string {
	return strconv.FormatInt(w.run.id(w.key(kindProject, name)), 10)
}

// located takes the id of what was created from its Location.
func (w *writer) located(location string) error {
	id, err := strconv.ParseInt(path.Base(location), 10, 64)
	if err != nil {
		return fmt.Errorf("this Harbor made it and does not say where: %q", location)
	}
	w.run.setID(w.change.Key, id)
	return nil
}

// create makes the object. After an error that leaves open whether Harbor has made it
// (a 500, a broken connection), it is looked up by name, and mended if it is there.
func (w *writer) create(ctx context.Context) error {
	err := w.make(ctx)
	if err == nil || refused(err) && !isCode(err, 409) {
		return err
	}
	found, e := w.lookup(ctx)
	if e != nil || found == nil {
		return err
	}
	w.change.have = found
	w.run.setID(w.change.Key, found.id)
	w.change.resets = w.change.secret != ""
	return w.update(ctx)
}

// lookup finds the object by its name.
func (w *writer) lookup(ctx context.Context) (*entry, error) {
	want := &wanted{objects: map[Key]object{w.change.Key: w.change.want}}
	for _, k := range w.change.needs {
		want.objects[k] = w.run.plan.want.objects[k]
	}
	have, err := w.read(ctx, w.change.Datacenter, want)
	if err != nil {
		return nil, err
	}
	return have.get(w.change.Kind, w.change.Name), nil
}

func (w *writer) make(ctx context.Context) error {
	switch o := w.change.want.(type) {
	case configuration:
		return w.putConfiguration(ctx, o)
	case *project:
		return w.makeProject(ctx, o)
	case *retention:
		return w.putRetention(ctx, o)
	case *immutable:
		_, err := w.api.Immutable.CreateImmuRule(ctx, clientimmutable.NewCreateImmuRuleParams().WithProjectNameOrID(w.projectOf()).WithImmutableRule(o.model()))
		return err
	case *member:
		m := &models.ProjectMember{RoleID: roles[o.role], MemberGroup: &models.UserGroup{GroupName: o.group, GroupType: groupOIDC}}
		_, err := w.api.Member.CreateProjectMember(ctx, clientmember.NewCreateProjectMemberParams().WithProjectNameOrID(w.projectOf()).WithProjectMember(m))
		if isCode(err, 404) {
			return errors.New("this Harbor knows groups only while it logs people in by OIDC: write harbor.oidc")
		}
		return err
	case *robot:
		return w.makeRobot(ctx, o)
	case *registry:
		return w.makeRegistry(ctx, o)
	case *policy:
		made, err := w.api.Replication.CreateReplicationPolicy(ctx, replication.NewCreateReplicationPolicyParams().WithPolicy(w.policyModel(o)))
		if err != nil {
			return err
		}
		return w.located(made.Location)
	}
	return fmt.Errorf("%T cannot be made", w.change.want)
}

const groupOIDC = 3 // a user group's type

// projectOf is the id of the project that the change's name begins with.
func (w *writer) projectOf() string {
	name, _, _ := strings.Cut(w.change.Name, " ")
	return w.projectID(name)
}

func (w *writer) update(ctx context.Context) error {
	switch o := w.change.want.(type) {
	case configuration:
		return w.putConfiguration(ctx, o)
	case *collection:
		m := &models.Schedule{Schedule: &models.ScheduleObj{Type: "Custom", Cron: o.cron}, Parameters: map[string]any{"delete_untagged": o.untagged, "workers": 1}}
		_, err := w.api.GC.UpdateGCSchedule(ctx, gc.NewUpdateGCScheduleParams().WithSchedule(m))
		return err
	case *project:
		return w.putProject(ctx, o)
	case *retention:
		return w.putRetention(ctx, o)
	case *immutable:
		m := o.model()
		m.ID = w.change.have.id
		_, err := w.api.Immutable.UpdateImmuRule(ctx, clientimmutable.NewUpdateImmuRuleParams().WithProjectNameOrID(w.projectOf()).WithImmutableRuleID(m.ID).WithImmutableRule(m))
		return err
	case *member:
		params := clientmember.NewUpdateProjectMemberParams().WithProjectNameOrID(w.projectOf()).WithMid(w.change.have.id)
		_, err := w.api.Member.UpdateProjectMember(ctx, params.WithRole(&models.RoleRequest{RoleID: roles[o.role]}))
		return err
	case *robot:
		return w.putRobot(ctx, o)
	case *registry:
		return w.putRegistry(ctx, o)
	case *policy:
		m := w.policyModel(o)
		m.ID = w.change.have.id
		_, err := w.api.Replication.UpdateReplicationPolicy(ctx, replication.NewUpdateReplicationPolicyParams().WithID(m.ID).WithPolicy(m))
		return err
	}
	return fmt.Errorf("%T cannot be changed", w.change.want)
}

// delete removes what carries our mark. A policy is disabled and its executions are
// stopped before: Harbor answers 412 otherwise.
func (w *writer) delete(ctx context.Context) error {
	id := w.change.have.id
	var err error
	switch o := w.change.have.object.(type) {
	case *robot:
		_, err = w.api.Robot.DeleteRobot(ctx, clientrobot.NewDeleteRobotParams().WithRobotID(id))
	case *registry:
		_, err = w.api.Registry.DeleteRegistry(ctx, clientregistry.NewDeleteRegistryParams().WithID(id))
	case *policy:
		err = w.deletePolicy(ctx, id, o)
	default:
		return fmt.Errorf("a %s is never deleted", w.change.Kind)
	}
	if isCode(err, 404) { // somebody was faster
		return nil
	}
	return err
}

func (w *writer) deletePolicy(ctx context.Context, id int64, o *policy) error {
	o.disabled = true
	m := w.policyModel(o)
	m.ID = id
	if _, err := w.api.Replication.UpdateReplicationPolicy(ctx, replication.NewUpdateReplicationPolicyParams().WithID(id).WithPolicy(m)); err != nil {
		return fmt.Errorf("disable it: %w", plain(err))
	}
	running, err := w.api.Replication.ListReplicationExecutions(ctx, replication.NewListReplicationExecutionsParams().WithPolicyID(&id).WithStatus(ptr("InProgress")))
	if err != nil {
		return fmt.Errorf("list what runs of it: %w", plain(err))
	}
	for _, e := range running.Payload {
		if _, err := w.api.Replication.StopReplication(ctx, replication.NewStopReplicationParams().WithID(e.ID)); err != nil && !isCode(err, 404) {
			return err
		}
	}
	_, err = w.api.Replication.DeleteReplicationPolicy(ctx, replication.NewDeleteReplicationPolicyParams().WithID(id))
	return err
}

// putConfiguration writes the keys that the fleet file sets, and no others.
func (w *writer) putConfiguration(ctx context.Context, c configuration) error {
	values := map[string]any{}
	for k, v := range c {
		values[k] = v
		if n, err := strconv.Atoi(v); err == nil && slices.Contains(numeric, k) {
			values[k] = n
		} else if v == "true" || v == "false" {
			values[k] = v == "true"
		}
	}
	if w.change.secret != "" && (w.change.resets || w.change.have == nil) {
		values["oidc_client_secret"] = w.change.secret
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	m := &models.Configurations{}
	if err := json.Unmarshal(text, m); err != nil {
		return err
	}
	_, err = w.api.Configure.UpdateConfigurations(ctx, configure.NewUpdateConfigurationsParams().WithConfigurations(m))
	return err
}

func (w *writer) makeProject(ctx context.Context, o *project) error {
	m := &models.ProjectReq{ProjectName: o.name, StorageLimit: &o.quota, Metadata: o.metadata()}
	if o.registry != "" {
		m.RegistryID = ptr(w.run.id(w.key(kindRegistry, o.registry)))
	}
	made, err := w.api.Project.CreateProject(ctx, clientproject.NewCreateProjectParams().WithProject(m))
	if err != nil {
		return err
	}
	return w.located(made.Location)
}

func (p *project) metadata() *models.ProjectMetadata {
	return &models.ProjectMetadata{Public: strconv.FormatBool(p.public), AutoScan: ptr(strconv.FormatBool(p.autoScan))}
}

func (w *writer) putProject(ctx context.Context, o *project) error {
	have := w.change.have.object.(*project)
	id := strconv.FormatInt(w.change.have.id, 10)
	if have.registry != o.registry {
		return errors.New("there is a project of that name that is of another registry")
	}
	if have.public != o.public || have.autoScan != o.autoScan {
		if _, err := w.api.Project.UpdateProject(ctx, clientproject.NewUpdateProjectParams().WithProjectNameOrID(id).WithProject(&models.ProjectReq{Metadata: o.metadata()})); err != nil {
			return err
		}
	}
	if have.quota == o.quota {
		return nil
	}
	quotas, err := w.api.Quota.ListQuotas(ctx, clientquota.NewListQuotasParams().WithReference(ptr("project")).WithReferenceID(&id))
	if err != nil {
		return err
	}
	if len(quotas.Payload) != 1 {
		return errors.New("this Harbor has no quota for it")
	}
	_, err = w.api.Quota.UpdateQuota(ctx, clientquota.NewUpdateQuotaParams().WithID(quotas.Payload[0].ID).WithHard(&models.QuotaUpdateReq{Hard: models.ResourceList{"storage": o.quota}}))
	return err
}

// putRetention writes what a project keeps. A proxy cache is born with a retention of
// Harbor's own, which is replaced.
func (w *writer) putRetention(ctx context.Context, o *retention) error {
	id := w.projectID(w.change.Name)
	ref, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return err
	}
	m := o.model(ref)
	if e := w.change.have; e != nil && !e.broken {
		return w.updateRetention(ctx, e.id, m)
	}
	got, err := w.api.Project.GetProject(ctx, clientproject.NewGetProjectParams().WithProjectNameOrID(id))
	if err != nil {
		return err
	}
	if meta := got.Payload.Metadata; meta != nil && deref(meta.RetentionID) != "" {
		if w.change.have != nil { // what it names is gone, and stands in the way of a new one
			params := project_metadata.NewDeleteProjectMetadataParams().WithProjectNameOrID(id).WithMetaName("retention_id")
			if _, err := w.api.ProjectMetadata.DeleteProjectMetadata(ctx, params); err != nil {
				return err
			}
		} else if old, err := strconv.ParseInt(*meta.RetentionID, 10, 64); err == nil {
			return w.updateRetention(ctx, old, m)
		}
	}
	_, err = w.api.Retention.CreateRetention(ctx, clientretention.NewCreateRetentionParams().WithPolicy(m))
	return err
}

func (w *writer) updateRetention(ctx context.Context, id int64, m *models.RetentionPolicy) error {
	m.ID = id
	_, err := w.api.Retention.UpdateRetention(ctx, clientretention.NewUpdateRetentionParams().WithID(id).WithPolicy(m))
	return err
}

func (r *retention) model(ref int64) *models.RetentionPolicy {
	m := &models.RetentionPolicy{Algorithm: r.algorithm, Scope: &models.RetentionPolicyScope{Level: "project", Ref: ref},
		Trigger: &models.RetentionRuleTrigger{Kind: "Schedule", References: map[string]any{}, Settings: map[string]any{"cron": r.cron}}}
	for _, one := range r.rules {
		params := map[string]any{}
		if one.n != 0 {
			params[one.template] = one.n
		}
		m.Rules = append(m.Rules, &models.RetentionRule{Action: "retain", Template: one.template, Params: params,
			ScopeSelectors: map[string][]models.RetentionSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
			TagSelectors:   []*models.RetentionSelector{{Kind: "doublestar", Decoration: "matches", Pattern: "**", Extras: untagged}}})
	}
	return m
}

func (i *immutable) model() *models.ImmutableRule {
	return &models.ImmutableRule{Action: "immutable", Template: "immutable_template",
		ScopeSelectors: map[string][]models.ImmutableSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
		TagSelectors:   []*models.ImmutableSelector{{Kind: "doublestar", Decoration: "matches", Pattern: i.pattern}}}
}

// makeRobot makes the robot and then gives it its secret: Harbor ignores the one in
// the first call. A robot whose secret it does not take is undone.
func (w *writer) makeRobot(ctx context.Context, o *robot) error {
	m := &models.RobotCreate{Name: o.name, Level: o.level(), Description: o.description, Duration: o.duration, Permissions: o.permissions()}
	made, err := w.api.Robot.CreateRobot(ctx, clientrobot.NewCreateRobotParams().WithRobot(m))
	if err != nil {
		return err
	}
	w.run.setID(w.change.Key, made.Payload.ID)
	if err := w.setSecret(ctx, made.Payload.ID); err != nil {
		if _, e := w.api.Robot.DeleteRobot(ctx, clientrobot.NewDeleteRobotParams().WithRobotID(made.Payload.ID)); e != nil {
			return fmt.Errorf("%w; it was made and could not be removed (%w): the next run gives it its secret", plain(err), plain(e))
		}
		return err
	}
	return nil
}

func (r *robot) level() string {
	if r.project == "" {
		return "system"
	}
	return "project"
}

func (r *robot) permissions() (all []*models.RobotPermission) {
	of := map[string]*models.RobotPermission{}
	for _, g := range r.grants {
		if of[g.namespace] == nil {
			of[g.namespace] = &models.RobotPermission{Kind: "project", Namespace: g.namespace}
		}
		of[g.namespace].Access = append(of[g.namespace].Access, &models.Access{Resource: g.resource, Action: g.action})
	}
	for _, namespace := range sortedKeys(of) {
		all = append(all, of[namespace])
	}
	return all
}

// setSecret gives the robot its secret, and sees it log in with it.
func (w *writer) setSecret(ctx context.Context, id int64) error {
	if _, err := w.api.Robot.RefreshSec(ctx, clientrobot.NewRefreshSecParams().WithRobotID(id).WithRobotSec(&models.RobotSec{Secret: w.change.secret})); err != nil {
		return err
	}
	ok, err := w.proves(ctx, w.prefix+w.change.Name, w.change.secret)
	if err == nil && !ok {
		err = errors.New("this Harbor took its secret, and does not let it log in")
	}
	return err
}

func (w *writer) putRobot(ctx context.Context, o *robot) error {
	id := w.change.have.id
	if changed(w.change.have.object, o) {
		m := &models.Robot{ID: id, Name: w.prefix + o.key(), Level: o.level(), Description: o.description, Duration: &o.duration, Permissions: o.permissions(), Editable: true}
		if _, err := w.api.Robot.UpdateRobot(ctx, clientrobot.NewUpdateRobotParams().WithRobotID(id).WithRobot(m)); err != nil {
			return err
		}
	}
	if !w.change.resets && !w.change.have.object.(*robot).disabled {
		return nil
	}
	return w.setSecret(ctx, id)
}

func changed(a, b object) bool {
	x, y := a.fields(), b.fields()
	if len(x) != len(y) {
		return true
	}
	for i := range x {
		if x[i] != y[i] {
			return true
		}
	}
	return false
}

func (w *writer) makeRegistry(ctx context.Context, o *registry) error {
	m := &models.Registry{Name: o.name, Type: o.kind, URL: o.url, Description: o.description, Insecure: o.insecure,
		Credential: &models.RegistryCredential{Type: "basic", AccessKey: o.user, AccessSecret: w.change.secret}}
	made, err := w.api.Registry.CreateRegistry(ctx, clientregistry.NewCreateRegistryParams().WithRegistry(m))
	if err != nil {
		return w.explain(err, o)
	}
	return w.located(made.Location)
}

func (w *writer) putRegistry(ctx context.Context, o *registry) error {
	if w.change.have.object.(*registry).kind != o.kind {
		return fmt.Errorf("there is a registry of that name that is of type %s", w.change.have.object.(*registry).kind)
	}
	m := &models.RegistryUpdate{Name: &o.name, URL: &o.url, Description: &o.description, Insecure: &o.insecure,
		CredentialType: ptr("basic"), AccessKey: &o.user, AccessSecret: &w.change.secret}
	_, err := w.api.Registry.UpdateRegistry(ctx, clientregistry.NewUpdateRegistryParams().WithID(w.change.have.id).WithRegistry(m))
	return w.explain(err, o)
}

// explain says what Harbor means when it does not take a registry: it logs in there
// before, says 500 when nobody answers and 400 when the login is refused.
func (w *writer) explain(err error, o *registry) error {
	switch {
	case isCode(err, 500):
		return explained{fmt.Errorf("this Harbor does not reach %s: is it running, and is the way open? (%w)", o.url, plain(err)), err}
	case isCode(err, 400) && o.user == "":
		return explained{fmt.Errorf("this Harbor does not find a registry at %s: is the way open? (%w)", o.url, plain(err)), err}
	case isCode(err, 400) && strings.Contains(plain(err).Error(), "unhealthy"):
		return explained{fmt.Errorf("%s refuses the login of %s (%w)", o.url, o.user, plain(err)), err}
	}
	return err
}

func (w *writer) policyModel(o *policy) *models.ReplicationPolicy {
	m := &models.ReplicationPolicy{Name: o.name, Description: o.description, Enabled: !o.disabled, Override: o.override, ReplicateDeletion: o.deletion, Speed: ptr(int32(-1)),
		DestNamespace: o.namespace, DestNamespaceReplaceCount: ptr(int8(o.flatten)), SrcRegistry: &models.Registry{}, DestRegistry: &models.Registry{},
		Trigger: &models.ReplicationTrigger{Type: o.trigger, TriggerSettings: &models.ReplicationTriggerSettings{Cron: o.cron}}}
	if o.from != "" {
		m.SrcRegistry.ID = w.run.id(w.key(kindRegistry, o.from))
	}
	if o.to != "" {
		m.DestRegistry.ID = w.run.id(w.key(kindRegistry, o.to))
	}
	for _, text := range o.filters {
		kind, value, _ := strings.Cut(text, " ")
		m.Filters = append(m.Filters, &models.ReplicationFilter{Type: kind, Value: value})
	}
	return m
}
