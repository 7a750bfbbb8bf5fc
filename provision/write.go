package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	clientimmutable "github.com/goharbor/go-client/pkg/sdk/v2.0/client/immutable"
	clientmember "github.com/goharbor/go-client/pkg/sdk/v2.0/client/member"
	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
	clientrobot "github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	clientwebhook "github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhook"
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
	switch {
	case e != nil:
		return err
	case found == nil:
		return fmt.Errorf("it was not made: %s", plain(err))
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
		return w.makePolicy(ctx, o)
	case *webhook:
		return w.makeWebhook(ctx, o)
	case *instance:
		return w.makeInstance(ctx, o)
	case *preheat:
		return w.makePreheat(ctx, o)
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
		return w.putCollection(ctx, o)
	case *project:
		return w.putProject(ctx, o)
	case *retention:
		return w.putRetention(ctx, o)
	case *immutable:
		return w.putImmutable(ctx, o)
	case *member:
		params := clientmember.NewUpdateProjectMemberParams().WithProjectNameOrID(w.projectOf()).WithMid(w.change.have.id)
		_, err := w.api.Member.UpdateProjectMember(ctx, params.WithRole(&models.RoleRequest{RoleID: roles[o.role]}))
		return err
	case *robot:
		return w.putRobot(ctx, o)
	case *registry:
		return w.putRegistry(ctx, o)
	case *policy:
		return w.putPolicy(ctx, o)
	case *webhook:
		return w.putWebhook(ctx, o)
	case *instance:
		return w.putInstance(ctx, o)
	case *preheat:
		return w.putPreheat(ctx, o)
	}
	return fmt.Errorf("%T cannot be changed", w.change.want)
}

// delete removes what carries our mark. A policy is disabled and its executions are
// stopped before: Harbor answers 412 otherwise.
func (w *writer) delete(ctx context.Context) error {
	id := w.change.have.id
	var err error
	switch w.change.have.object.(type) {
	case *robot:
		if w.change.replaced {
			if err := w.run.settle(ctx); err != nil {
				return err
			}
		}
		_, err = w.api.Robot.DeleteRobot(ctx, clientrobot.NewDeleteRobotParams().WithRobotID(id))
	case *registry:
		_, err = w.api.Registry.DeleteRegistry(ctx, clientregistry.NewDeleteRegistryParams().WithID(id))
	case *policy:
		if w.change.replaced {
			err = w.replacePolicy(ctx, id)
		} else {
			err = w.deletePolicy(ctx, id)
		}
	case *webhook:
		_, err = w.api.Webhook.DeleteWebhookPolicyOfProject(ctx, clientwebhook.NewDeleteWebhookPolicyOfProjectParams().WithProjectNameOrID(w.projectOf()).WithWebhookPolicyID(id))
	case *instance:
		err = w.deleteInstance(ctx)
	case *preheat:
		_, err = w.call(ctx, http.MethodDelete, policiesOf(projectOfKey(w.change.Key))+"/"+preheatName, nil, nil)
	default:
		return fmt.Errorf("a %s is never deleted", w.change.Kind)
	}
	if isCode(err, 404) { // somebody was faster
		return nil
	}
	return err
}

func (w *writer) deletePolicy(ctx context.Context, id int64) error {
	if err := w.putOver(ctx, fmt.Sprintf("%s/%d", policiesPath, id), map[string]any{"enabled": false}); err != nil {
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

// putCollection writes when garbage is collected, with the parameters that are not ours.
func (w *writer) putCollection(ctx context.Context, o *collection) error {
	got, err := w.api.GC.GetGCSchedule(ctx, gc.NewGetGCScheduleParams())
	if err != nil {
		return err
	}
	parameters := raw{"workers": json.RawMessage("1")}
	if s := got.Payload; s != nil && s.JobParameters != "" {
		if err := json.Unmarshal([]byte(s.JobParameters), &parameters); err != nil {
			return fmt.Errorf("read the parameters of garbage collection: %w", err)
		}
	}
	if parameters, err = parameters.over(map[string]any{"delete_untagged": o.untagged}); err != nil {
		return err
	}
	_, err = w.call(ctx, http.MethodPut, "/system/gc/schedule", map[string]any{"schedule": map[string]any{"type": "Custom", "cron": o.cron}, "parameters": parameters}, nil)
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
