package lab

import "time"

// The kinds of what happens to content.
const (
	pushed   = "PUSH_ARTIFACT"
	pulled   = "PULL_ARTIFACT"
	deleted  = "DELETE_ARTIFACT"
	untagged = "untagged" // by the API: replications hear of it, webhooks do not
	tagged   = "tagged"
)

// event is something that happened to an artifact.
type event struct {
	kind     string
	project  *project
	repo     string // in full
	digest   string
	tags     []string // none: it was named by its digest
	operator string
	at       time.Time
}

func named(tag string) []string {
	if tag == "" {
		return nil
	}
	return []string{tag}
}

// happened tells webhooks and replications, the database not locked.
func (h *Harbor) happened(e event) {
	e.at = h.db.now()
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	h.notify(e)
	h.preheatEvent(e)
	if e.kind != pulled {
		h.replicateEvent(e)
	}
}
