package provision

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	clientimmutable "github.com/goharbor/go-client/pkg/sdk/v2.0/client/immutable"
	clientmember "github.com/goharbor/go-client/pkg/sdk/v2.0/client/member"
	clientretention "github.com/goharbor/go-client/pkg/sdk/v2.0/client/retention"
	clientrobot "github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	clientwebhook "github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhook"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// readRobots reads a project's robots, or those of the system.
func (h *harbor) readRobots(ctx context.Context, have *having, projectName string, id int64) error {
	all, err := pages(func(page int64) ([]*models.Robot, error) {
		params := clientrobot.NewListRobotParams().WithPage(&page).WithPageSize(ptr(int64(pageSize)))
		if id != 0 {
			params = params.WithQ(ptr(fmt.Sprintf("Level=project,ProjectID=%d", id)))
		}
		got, err := h.api.Robot.ListRobot(ctx, params)
		if err != nil {
			return nil, fmt.Errorf("list the robots: %w", plain(err))
		}
		return got.Payload, nil
	})
	for _, r := range all {
		rb := robotRead(r, have.prefix, projectName)
		have.put(kindRobot, rb.key(), &entry{id: r.ID, object: rb})
	}
	return err
}

func robotRead(r *models.Robot, prefix, projectName string) *robot {
	name := strings.TrimPrefix(strings.TrimPrefix(r.Name, prefix), projectName+"+")
	out := &robot{name: name, project: projectName, description: r.Description, duration: deref(r.Duration), disabled: r.Disable}
	for _, p := range r.Permissions {
		for _, a := range p.Access {
			out.grants = append(out.grants, grant{p.Namespace, a.Resource, a.Action, a.Effect})
		}
	}
	return out
}

func (h *harbor) readRetention(ctx context.Context, have *having, projectName, id string) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return fmt.Errorf("project %s: %q is no id of a retention", projectName, id)
	}
	got, err := h.api.Retention.GetRetention(ctx, clientretention.NewGetRetentionParams().WithID(n))
	switch {
	case isCode(err, 500), isCode(err, 404): // the project names one that is gone
		have.put(kindRetention, projectName, &entry{id: n, broken: true, object: &retention{}})
		return nil
	case err != nil:
		return fmt.Errorf("read the retention of project %s: %w", projectName, plain(err))
	}
	have.put(kindRetention, projectName, &entry{id: n, object: retentionRead(got.Payload)})
	return nil
}

func retentionRead(r *models.RetentionPolicy) *retention {
	out := &retention{algorithm: r.Algorithm}
	if r.Trigger != nil {
		settings, _ := r.Trigger.Settings.(map[string]any)
		out.cron, _ = settings["cron"].(string)
	}
	for _, have := range r.Rules {
		one := rule{template: have.Template, disabled: have.Disabled}
		one.n, _ = strconv.ParseInt(fmt.Sprint(have.Params[have.Template]), 10, 64)
		var repos, tags []string
		for _, s := range have.ScopeSelectors["repository"] {
			repos = append(repos, strings.TrimPrefix(s.Decoration+" ", "repoMatches ")+s.Pattern)
		}
		for _, s := range have.TagSelectors {
			text := strings.TrimPrefix(s.Decoration+" ", "matches ") + s.Pattern
			if s.Extras == untagged {
				text += " and untagged"
			}
			tags = append(tags, text)
		}
		one.selects = "repos " + set(repos) + " tags " + set(tags)
		out.rules = append(out.rules, one)
	}
	return out
}

// untagged is how a tag selector takes artifacts without a tag too.
const untagged = `{"untagged":true}`

func (h *harbor) readMembers(ctx context.Context, have *having, p *models.Project) error {
	all, err := pages(func(page int64) ([]*models.ProjectMemberEntity, error) {
		params := clientmember.NewListProjectMembersParams().WithProjectNameOrID(strconv.Itoa(int(p.ProjectID))).WithPage(&page).WithPageSize(ptr(int64(pageSize)))
		got, err := h.api.Member.ListProjectMembers(ctx, params)
		if err != nil {
			return nil, fmt.Errorf("list the members of project %s: %w", p.Name, plain(err))
		}
		return got.Payload, nil
	})
	for _, m := range all {
		role := fmt.Sprintf("role %d", m.RoleID)
		for name, id := range roles {
			if id == m.RoleID {
				role = name
			}
		}
		one := &member{m.EntityName, role, m.EntityType != "g"}
		have.put(kindMember, p.Name+" "+one.key(), &entry{id: m.ID, object: one})
	}
	return err
}

func (h *harbor) readImmutable(ctx context.Context, have *having, p *models.Project) error {
	all, err := pages(func(page int64) ([]*models.ImmutableRule, error) {
		params := clientimmutable.NewListImmuRulesParams().WithProjectNameOrID(strconv.Itoa(int(p.ProjectID))).WithPage(&page).WithPageSize(ptr(int64(pageSize)))
		got, err := h.api.Immutable.ListImmuRules(ctx, params)
		if err != nil {
			return nil, fmt.Errorf("list the immutable tags of project %s: %w", p.Name, plain(err))
		}
		return got.Payload, nil
	})
	for _, r := range all {
		i, selects := immutableRead(r)
		have.put(kindImmutable, p.Name+" "+selects, &entry{id: r.ID, object: i})
	}
	return err
}

// immutableRead is a rule and what it selects: a pattern where it is as ours are.
func immutableRead(r *models.ImmutableRule) (rule *immutable, selects string) {
	var tags, repos []string
	for _, s := range r.TagSelectors {
		tags = append(tags, strings.TrimPrefix(s.Decoration+" ", "matches ")+s.Pattern)
	}
	for _, s := range r.ScopeSelectors["repository"] {
		repos = append(repos, strings.TrimPrefix(s.Decoration+" ", "repoMatches ")+s.Pattern)
	}
	rule = &immutable{disabled: r.Disabled}
	if len(tags) == 1 && r.TagSelectors[0].Decoration == "matches" && len(r.ScopeSelectors) == 1 && len(repos) == 1 && repos[0] == "**" {
		rule.pattern = tags[0]
		return rule, rule.pattern
	}
	return rule, set(tags) + " in repos " + set(repos)
}

// key is a member's name in its key: a person's is no group's.
func (m *member) key() string {
	if m.person {
		return "(person) " + m.group
	}
	return m.group
}

// readWebhook reads our webhook of a project; those of other names are not looked at. An
// account that may not see it matters only where it is wanted.
func (h *harbor) readWebhook(ctx context.Context, have *having, p *models.Project, wanted bool) error {
	all, err := pages(func(page int64) ([]*models.WebhookPolicy, error) {
		params := clientwebhook.NewListWebhookPoliciesOfProjectParams().WithProjectNameOrID(strconv.Itoa(int(p.ProjectID))).WithPage(&page).WithPageSize(ptr(int64(pageSize)))
		got, err := h.api.Webhook.ListWebhookPoliciesOfProject(ctx, params)
		if err != nil {
			if isCode(err, 403) && !wanted {
				return nil, nil
			}
			return nil, fmt.Errorf("list the webhooks of project %s: %w", p.Name, plain(err))
		}
		return got.Payload, nil
	})
	for _, w := range all {
		if w.Name == webhookName {
			have.put(kindWebhook, p.Name+" "+w.Name, &entry{id: w.ID, object: webhookRead(w)})
		}
	}
	return err
}

func webhookRead(w *models.WebhookPolicy) *webhook {
	out := &webhook{description: w.Description, disabled: !w.Enabled, events: w.EventTypes}
	for _, t := range w.Targets {
		out.targets = append(out.targets, target{t.Address, t.Type, string(t.PayloadFormat), t.SkipCertVerify, t.AuthHeader})
	}
	return out
}

// bears reports whether what the webhook sends is authorized by the header, wherever it goes.
func (w *webhook) bears(header string) bool {
	return !slices.ContainsFunc(w.targets, func(t target) bool { return t.auth != header })
}
