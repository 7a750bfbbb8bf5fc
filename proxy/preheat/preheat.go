// Package preheat takes what a Harbor's preheat policies ask for, as the driver of Harbor for
// Kraken says it: is the edge well (GET /health), and an image to bring (POST
// /registry/notifications). Both are below Path, which is the instance's endpoint in Harbor
// (goharbor/harbor, src/pkg/p2p/preheat/provider/kraken.go).
package preheat

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

const (
	// Path is the endpoint of an edge as Harbor's instances have it.
	Path = "/breakwater/v1/preheat"
	// User is whom Harbor logs in as (auth_mode BASIC).
	User = "breakwater"

	healthPath       = Path + "/health"
	notificationPath = Path + "/registry/notifications"
	maxBody          = 64 << 10        // bytes; the driver sends one event of some hundred
	bodyDeadline     = 5 * time.Second // for its last byte
	retryAfter       = time.Minute
)

// Handler answers the Harbor of this datacenter. Safe for concurrent use.
type Handler struct {
	// Secrets are the passwords that Harbor may show; none: it may not ask.
	Secrets func() []string
	// Queue has an image brought: a repo in full, and a tag or a digest. It checks both.
	Queue func(repo, reference string) error
	// Full reports whether an error of Queue says that it takes no more for now.
	Full func(error) bool
}

// event is what the driver sends of an image. The names begin with capitals, and case does not
// count to encoding/json. URL, where Harbor has the manifest, is not read: an edge asks the
// sources that it knows.
type event struct {
	Action string
	Target struct{ Repository, Tag, Digest string }
}

// Serve answers a request below Path. The error is for registry.WriteError; its message is what
// Harbor shows in the log of the policy's task.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request) error {
	if !h.may(r) {
		e := registry.Errorf(registry.CodeUnauthorized, "this is for the Harbor of this datacenter: breakwater provision apply gives it its login")
		e.Challenge = `Basic realm="breakwater"`
		return e
	}
	switch path := r.URL.Path; {
	case path == healthPath && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte("{}\n"))
		return err
	case path == notificationPath && r.Method == http.MethodPost:
		return h.notified(w, r)
	case path == healthPath || path == notificationPath:
		return registry.Errorf(registry.CodeUnsupported, "health is a GET, and a notification a POST")
	}
	return registry.Errorf(registry.CodeNameUnknown, "there is nothing at this path")
}

// may reports whether the request shows one of the secrets. All are compared, each in the same time.
func (h *Handler) may(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	good := 0
	for _, secret := range h.Secrets() {
		if secret != "" {
			good |= subtle.ConstantTimeCompare([]byte(password), []byte(secret))
		}
	}
	return ok && user == User && good == 1
}

// notified queues what the events name. The driver takes any 2xx for the end of it, and shows
// everything else as the task's error, without trying again.
func (h *Handler) notified(w http.ResponseWriter, r *http.Request) error {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyDeadline)) //nolint:errcheck // a writer of a test has none
	var body struct{ Events []event }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		return registry.Errorf(registry.CodeManifestInvalid, "the notification cannot be read: %v", err)
	}
	if len(body.Events) == 0 {
		return registry.Errorf(registry.CodeManifestInvalid, "the notification has no event")
	}
	var faults []error
	for _, e := range body.Events {
		if e.Action != "push" { // a registry tells of pulls too
			continue
		}
		if err := h.Queue(e.Target.Repository, reference(e)); err != nil {
			faults = append(faults, err)
		}
	}
	err := errors.Join(faults...)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case h.Full(err):
		e := registry.Errorf(registry.CodeUnavailable, "%s", line(err))
		e.RetryAfter = retryAfter
		return e
	}
	return registry.Errorf(registry.CodeManifestInvalid, "%s", line(err))
}

// reference is the tag that a policy took, so that a pull by it finds all that it asks; of an
// image without one, its digest.
func reference(e event) string {
	if e.Target.Tag != "" {
		return e.Target.Tag
	}
	return e.Target.Digest
}

// line is an error on one line, of some length.
func line(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	return text[:min(len(text), 1000)]
}
