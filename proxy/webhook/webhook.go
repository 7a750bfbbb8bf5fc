// Package webhook reads what Harbor tells of events, in its default format or as CloudEvents.
package webhook

import (
	"encoding/json"
	"io"
	"time"

	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Hook is what Harbor tells of events in one repo.
type Hook struct {
	Type     string    `json:"type"`
	At       int64     `json:"occur_at"` // s since 1970
	Time     time.Time `json:"time"`     // of CloudEvents
	Operator string    `json:"operator"`
	Default  *data     `json:"event_data"`
	Cloud    *data     `json:"data"`
}

type data struct {
	Resources []struct {
		Digest string `json:"digest"`
		Tag    string `json:"tag"` // of a push by digest: the digest
	} `json:"resources"`
	Repository struct {
		FullName string `json:"repo_full_name"`
	} `json:"repository"`
}

// Event is one resource of a webhook.
type Event struct {
	version.Key
	Digest   string
	Deleted  bool
	At       time.Time
	Operator string
}

// Read reads a webhook.
func Read(r io.Reader) (hook Hook, err error) {
	return hook, json.NewDecoder(r).Decode(&hook)
}

// about is what it is about; nothing where it does not say.
func (hook Hook) about() data {
	switch {
	case hook.Default != nil:
		return *hook.Default
	case hook.Cloud != nil:
		return *hook.Cloud
	}
	return data{}
}

// Repo is the repo in full; "": it does not say.
func (hook Hook) Repo() string { return hook.about().Repository.FullName }

// Events are those of a webhook that say something of a tag.
func (hook Hook) Events() (all []Event) {
	deleted := hook.Type == "DELETE_ARTIFACT" || hook.Type == "harbor.artifact.deleted"
	if !deleted && hook.Type != "PUSH_ARTIFACT" && hook.Type != "harbor.artifact.pushed" {
		return nil
	}
	at := hook.Time
	if hook.At != 0 {
		at = time.Unix(hook.At, 0)
	}
	about := hook.about()
	for _, resource := range about.Resources {
		e := Event{version.Key{Repo: about.Repository.FullName, Reference: resource.Tag}, resource.Digest, deleted, at, hook.Operator}
		if _, err := registry.ParseDigest(e.Digest); err == nil {
			all = append(all, e)
		}
	}
	return all
}
