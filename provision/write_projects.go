package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	clientproject "github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project_metadata"
	clientquota "github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	clientretention "github.com/goharbor/go-client/pkg/sdk/v2.0/client/retention"
	clientwebhook "github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhook"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

func (w *writer) makeProject(ctx context.Context, o *project) error {
	m := &models.ProjectReq{ProjectName: o.name, StorageLimit: &o.quota, Metadata: o.metadata()}
	if o.registry != "" {
		m.RegistryID = ptr(w.run.id(w.key(kindRegistry, o.registry)))
	}
	made, err := w.api.Project.CreateProject(ctx, clientproject.NewCreateProjectParams().WithProject(m))
	if err != nil {
		return err
	}
	if err := w.located(made.Location); err != nil || o.keeps == "" {
		return err
	}
	return w.putKeeps(ctx, w.projectID(o.name), o.keeps)
}

// putKeeps has a proxy cache serve what its upstream has deleted, or not. go-client's model of
// a project has no such field; a Harbor that has none drops it.
func (w *writer) putKeeps(ctx context.Context, id, keeps string) error {
	_, err := w.call(ctx, http.MethodPut, "/projects/"+id, map[string]any{"metadata": map[string]string{fieldKeeps: keeps}}, nil)
	return err
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
	if o.keeps != "" && have.keeps != "" && have.keeps != o.keeps {
		if err := w.putKeeps(ctx, id, o.keeps); err != nil {
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
	if err != nil {
		return inField{"quota", fmt.Errorf("its quota: %w", plain(err))}
	}
	return nil
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
	return w.putOver(ctx, fmt.Sprintf("/retentions/%d", id), map[string]any{"id": id, "algorithm": m.Algorithm, "scope": m.Scope, "trigger": m.Trigger, "rules": m.Rules})
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

// putImmutable turns a rule on again: what it selects is how it was found, and stays.
func (w *writer) putImmutable(ctx context.Context, o *immutable) error {
	path := fmt.Sprintf("/projects/%s/immutabletagrules", w.projectOf())
	all, err := pages(func(page int64) (got []raw, err error) {
		_, err = w.call(ctx, http.MethodGet, fmt.Sprintf("%s?page=%d&page_size=%d", path, page, pageSize), nil, &got)
		return got, err
	})
	if err != nil {
		return err
	}
	for _, rule := range all {
		if id := strconv.FormatInt(w.change.have.id, 10); string(rule["id"]) == id {
			body, err := rule.over(map[string]any{"disabled": o.disabled})
			if err != nil {
				return err
			}
			_, err = w.call(ctx, http.MethodPut, path+"/"+id, body, nil)
			return err
		}
	}
	return errors.New("it is gone")
}

func (w *writer) makeWebhook(ctx context.Context, o *webhook) error {
	params := clientwebhook.NewCreateWebhookPolicyOfProjectParams().WithProjectNameOrID(w.projectOf()).WithPolicy(o.model(w.change.secret))
	made, err := w.api.Webhook.CreateWebhookPolicyOfProject(ctx, params)
	if err != nil {
		return err
	}
	return w.located(made.Location)
}

// putWebhook writes the whole webhook, as Harbor keeps nothing of what is left out.
func (w *writer) putWebhook(ctx context.Context, o *webhook) error {
	m := o.model(w.change.secret)
	return w.putOver(ctx, fmt.Sprintf("/projects/%s/webhook/policies/%d", w.projectOf(), w.change.have.id),
		map[string]any{"name": m.Name, "description": m.Description, "enabled": m.Enabled, "event_types": m.EventTypes, "targets": m.Targets})
}

func (w *webhook) model(secret string) *models.WebhookPolicy {
	m := &models.WebhookPolicy{Name: webhookName, Description: w.description, Enabled: !w.disabled, EventTypes: w.events}
	for _, t := range w.targets {
		m.Targets = append(m.Targets, &models.WebhookTargetObject{Address: t.address, AuthHeader: secret, PayloadFormat: models.PayloadFormatType(t.format), SkipCertVerify: t.skipVerify, Type: t.kind})
	}
	return m
}
