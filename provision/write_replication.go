package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

func (w *writer) makeRegistry(ctx context.Context, o *registry) error {
	if err := w.reaches(o.url); err != nil {
		return err
	}
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
	if err := w.reaches(o.url); err != nil {
		return err
	}
	m := &models.RegistryUpdate{Name: &o.name, URL: &o.url, Description: &o.description, Insecure: &o.insecure,
		CredentialType: ptr("basic"), AccessKey: &o.user, AccessSecret: &w.change.secret}
	_, err := w.api.Registry.UpdateRegistry(ctx, clientregistry.NewUpdateRegistryParams().WithID(w.change.have.id).WithRegistry(m))
	return w.explain(err, o)
}

// reaches is an error where Harbor would wait in vain for who is at the address: it is a
// Harbor that is away for this run, or gave no answer when it was asked last.
func (w *writer) reaches(address string) error {
	for name, peer := range w.run.harbors {
		if peer.base == address && peer.awake.Err() != nil {
			return deferral(name + " does not answer")
		}
	}
	if why, deaf := w.deaf.Load(address); deaf {
		return deferral(why.(string))
	}
	return nil
}

// explain says what Harbor means when it does not take a registry: it logs in there
// before, says 500 when nobody answers and 400 when the login is refused.
func (w *writer) explain(err error, o *registry) error {
	switch {
	case errors.As(err, new(silent)):
		w.deaf.Store(o.url, noAnswerFrom+o.url+" before")
	case isCode(err, 500):
		return explained{fmt.Errorf("this Harbor does not reach %s: is it running, and is the way open? (%w)", o.url, plain(err)), err}
	case isCode(err, 400) && o.user == "":
		return explained{fmt.Errorf("this Harbor does not find a registry at %s: is the way open? (%w)", o.url, plain(err)), err}
	case isCode(err, 400) && strings.Contains(plain(err).Error(), "unhealthy"):
		return explained{fmt.Errorf("%s refuses the login of %s (%w)", o.url, o.user, plain(err)), err}
	}
	return err
}

func (w *writer) makePolicy(ctx context.Context, o *policy) error {
	header, err := w.call(ctx, http.MethodPost, policiesPath, w.policyBody(o), nil)
	if err != nil {
		return err
	}
	return w.located(header.Get("Location"))
}

// putPolicy writes the whole policy, as Harbor keeps nothing of what is left out.
func (w *writer) putPolicy(ctx context.Context, o *policy) error {
	return w.putOver(ctx, fmt.Sprintf("%s/%d", policiesPath, w.change.have.id), w.policyBody(o))
}

const policiesPath = "/replication/policies"

// policyBody are the fields that are ours.
func (w *writer) policyBody(o *policy) map[string]any {
	filters := []map[string]any{}
	for _, f := range o.filters {
		one := map[string]any{"type": f.kind, "value": f.value}
		if f.decoration != "" {
			one["decoration"] = f.decoration
		}
		filters = append(filters, one)
	}
	settings := map[string]any{}
	if o.cron != "" {
		settings["cron"] = o.cron
	}
	speed := o.speed
	if speed == 0 {
		speed = -1
	}
	body := map[string]any{"name": o.name, "description": o.description, "enabled": !o.disabled, "override": o.override, "deletion": o.deletion, "replicate_deletion": o.deletion,
		"speed": speed, "dest_namespace": o.namespace, "dest_namespace_replace_count": int(o.flatten), "filters": filters,
		"src_registry": w.side(o.from), "dest_registry": w.side(o.to), "trigger": map[string]any{"type": o.trigger, "trigger_settings": settings}}
	if o.trigger == eventBased {
		body[fieldSingle] = false // Harbor says 500 to anything else
	}
	for name, value := range map[string]string{fieldSingle: o.single, fieldByChunk: o.byChunk} {
		if value != "" {
			body[name] = value == "true"
		}
	}
	return body
}

// side is one side of a replication; the Harbor itself is none.
func (w *writer) side(registry string) map[string]any {
	if registry == "" {
		return map[string]any{}
	}
	return map[string]any{"id": w.run.id(w.key(kindRegistry, registry))}
}
