package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"

	clientrobot "github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

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
			return halfDone{fmt.Errorf("it was made, has no secret (%w), and could not be removed (%w): the next run gives it its secret", plain(err), plain(e))}
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
	if !slices.Equal(w.change.have.object.fields(), o.fields()) {
		ours := map[string]any{"name": w.prefix + o.key(), "level": o.level(), "description": o.description, "duration": o.duration, "disable": o.disabled, "permissions": o.permissions()}
		if err := w.putOver(ctx, fmt.Sprintf("/robots/%d", id), ours); err != nil {
			return err
		}
	}
	if !w.change.resets && !w.change.have.object.(*robot).disabled {
		return nil
	}
	return w.setSecret(ctx, id)
}
