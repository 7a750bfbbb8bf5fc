package proxy

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/proxy/webhook"
	"example.org/breakwater/registry"
)

const (
	webhookPath     = "/breakwater/v1/webhook"
	maxWebhook      = 1 << 20                 // bytes
	webhookDeadline = 2500 * time.Millisecond // Harbor waits for 3 s
)

// serveWebhook hears of pushes and deletes that did not come through an edge. What Harbor
// tells is a cue: deliveries are late, in any order, and replications fire them too. So
// Harbor is asked what it has now.
func (h *Handler) serveWebhook(w *response, r *request) error {
	w.outcome = outcomeOwn
	if r.http.Method != http.MethodPost {
		return registry.Errorf(registry.CodeUnsupported, "a webhook is a POST")
	}
	if h.live.Load().WebhookSecrets == nil || !strings.HasPrefix(r.http.Header.Get("Authorization"), "Bearer ") { // its body is not read first
		return h.refuseWebhook()
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(webhookDeadline)) //nolint:errcheck // a writer of a test has none
	body := h.fetch.Bodies.Reader(webhookPath, http.MaxBytesReader(w, r.http.Body, maxWebhook))
	defer body.Close()
	hook, err := webhook.Read(body)
	if err != nil {
		return registry.Errorf(registry.CodeManifestInvalid, "the webhook cannot be read: %v", err)
	}
	if !h.webhookMay(r.http, hook.Repo()) {
		return h.refuseWebhook()
	}
	ctx, cancel := context.WithTimeout(r.http.Context(), webhookDeadline)
	defer cancel()
	for _, e := range hook.Events() {
		result, err := h.heard(ctx, e)
		h.metrics.Heard(result)
		if err != nil { // Harbor tries again, twice
			e := registry.Errorf(registry.CodeUnavailable, "Harbor cannot be asked about it")
			e.Cause = err
			return e
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) refuseWebhook() error {
	h.metrics.Heard("refused")
	return registry.Errorf(registry.CodeDenied, "this is for the Harbor of this datacenter")
}

// webhookMay reports whether a webhook comes from the project that it is about. The
// secret is the project's own: its administrators can read it.
func (h *Handler) webhookMay(r *http.Request, repo string) bool {
	project, _, ok := strings.Cut(repo, "/")
	secrets := h.live.Load().WebhookSecrets
	if !ok || secrets == nil || h.namespaces.Of(project).Kind != namespace.MultiDC {
		return false
	}
	shown := []byte(r.Header.Get("Authorization"))
	return slices.ContainsFunc(secrets(project), func(secret string) bool {
		return secret != "" && subtle.ConstantTimeCompare(shown, []byte("Bearer "+secret)) == 1
	})
}

// The results of a webhook, in metrics.
const (
	webhookTaken   = "taken"
	webhookKnown   = "known"
	webhookMachine = "machine" // a replication's, or a retention's
	webhookOld     = "old"     // Harbor has something else by now
	webhookUnknown = "unanswered"
)

// heard takes an event over, if it is news. Its time counts once Harbor has answered: what
// Harbor's clock says is not known before.
func (h *Handler) heard(ctx context.Context, e webhook.Event) (result string, err error) {
	d, _ := registry.ParseDigest(e.Digest) // it was one
	switch {
	case !registry.ValidRepo(e.Repo) || !h.versioned(e.Key) && !e.Deleted:
		return webhookKnown, nil
	case h.isMachine(e.Operator) && !e.Deleted:
		h.follower.Lagging(e.Key, d)
		return webhookMachine, nil
	case h.isMachine(e.Operator) && e.Operator != jobService:
		return webhookMachine, nil
	case !e.Deleted:
		return h.heardPush(ctx, e, d)
	}
	has, err := h.follower.Has(ctx, e.Repo, e.Digest)
	e.At = h.follower.Here(e.At)
	switch {
	case err != nil:
		return webhookUnknown, err
	case e.Operator == jobService: // retention
		for tag, r := range h.versions.Tags(e.Repo) {
			if has == "" && r.Digest == d && e.At.After(r.At()) { // it was not pushed again since
				h.follower.Removed(version.Key{Repo: e.Repo, Reference: tag})
			}
		}
		return webhookMachine, nil
	case has != "" || h.versions.Gone(e.Repo, d) || h.overtaken(e, d):
		return webhookOld, nil
	case h.underway.Has(e.Repo, "", d): // which of the two came later is seen when Harbor has answered
		return webhookUnknown, errors.New("a client pushes it at this moment")
	}
	h.versions.Delete(version.Buried(e.Repo, d), h.versions.Begin(e.Repo, "").Version)
	return webhookTaken, nil
}

// heardPush takes a push over that did not come through this edge, if it is news.
func (h *Handler) heardPush(ctx context.Context, e webhook.Event, d digest.Digest) (result string, err error) {
	known, pushed := h.versions.Get(e.Key), e.Key
	if !e.IsTag() { // it moves no tag, and ends a delete of the digest
		pushed.Reference = ""
	}
	deleted, begun := h.versions.Deleted(e.Repo, known), h.versions.Begin(e.Repo, pushed.Reference)
	switch {
	case !e.IsTag() && !h.versions.Gone(e.Repo, d) || e.IsTag() && known.Digest == d && !deleted:
		return webhookKnown, nil
	case h.underway.Has(e.Repo, pushed.Reference, d) || h.accepts(e.Key, d): // it came through this edge
		return webhookKnown, nil
	case h.versions.Had(e.Key, d) && !deleted: // of a push that was overtaken
		return webhookOld, nil
	}
	has, err := h.follower.Has(ctx, e.Repo, e.Reference)
	if err != nil {
		return webhookUnknown, err
	}
	e.At = h.follower.Here(e.At)
	if has != d || deleted && !e.At.After(h.versions.ChangedAt(e.Repo, known)) || h.underway.Had(e.Repo, pushed.Reference, d, e.At) {
		return webhookOld, nil
	}
	return webhookTaken, h.adoptFrom(ctx, pushed, d, begun)
}

const jobService = "harbor-jobservice"

// isMachine reports whether an event's operator is no client: a replication, a
// retention, a proxy cache, or an edge.
func (h *Handler) isMachine(operator string) bool {
	machine := h.live.Load().Machine
	return operator == jobService || operator == "harbor#proxy-cache-service" || machine != nil && machine(operator)
}

// overtaken reports whether a digest's delete is known already, or was followed by a push
// of it. An event has whole seconds.
func (h *Handler) overtaken(e webhook.Event, d digest.Digest) bool {
	since := e.At.Add(time.Second)
	buried, revived := h.versions.Get(version.Buried(e.Repo, d)), h.versions.Get(version.Revived(e.Repo, d))
	if buried.Known() && !e.At.After(buried.At().Add(time.Second)) || revived.Known() && revived.At().After(since) {
		return true
	}
	for _, r := range h.versions.Tags(e.Repo) {
		if r.Digest == d && r.At().After(since) {
			return true
		}
	}
	return false
}

// adopt gives a version to what was pushed past the edges.
func (h *Handler) adopt(ctx context.Context, key version.Key, d digest.Digest) error {
	return h.adoptFrom(ctx, key, d, h.versions.Begin(key.Repo, key.Reference))
}

// adoptFrom is adopt, of what is there since begun: what is acknowledged meanwhile is newer.
func (h *Handler) adoptFrom(ctx context.Context, key version.Key, d digest.Digest, begun version.Begun) error {
	found, err := h.fetch.Manifest(ctx, h.questionOf(registry.KindManifest, key.Repo, d), tags.Entry{})
	if err != nil {
		return err
	}
	begun = h.versions.Pushes(key.Repo, d, begun)
	begun.Adopted = true
	r, _ := h.versions.Write(key.Repo, key.Reference, d, found.Entry.MediaType, begun)
	h.cfg.Log.Info("pushed past the edges", "repo", key.Repo, "reference", key.Reference, "digest", d.String(), "version", r.Version.String())
	return nil
}
