package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// What Harbors do on their own account: replication to each other, retention, webhooks,
// backups. Each job is a task in the world's queue, and is done when the driver says so.

const (
	syncRobot          = "robot$sync"        // by which Harbors push to each other
	jobservice         = "harbor-jobservice" // by which a Harbor pulls, and removes what is old
	worldWebhookSecret = "Hooks1Only2Secret"
	webhookAttempts    = 3
	mostTasks          = 300             // that wait; Harbors that chase each other would make ever more
	longestCopy        = 2 * time.Second // between what a replication reads and what it writes
)

// later queues a task, which may queue more.
func (w *world) later(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tasks) == mostTasks {
		w.counts["tasks lost"]++
		w.tasks = w.tasks[1:]
	}
	w.tasks = append(w.tasks, do)
}

// work does one task of the queue, any of them. ok is false where there is none.
func (w *world) work() (ok bool) {
	w.mu.Lock()
	if len(w.tasks) == 0 {
		w.mu.Unlock()
		return false
	}
	i := w.dice(len(w.tasks))
	do := w.tasks[i]
	w.tasks[i] = w.tasks[len(w.tasks)-1]
	w.tasks = w.tasks[:len(w.tasks)-1]
	w.mu.Unlock()
	w.aside(do)
	synctest.Wait()
	return true
}

func (w *world) tasksLeft() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tasks)
}

// pushed fires what follows a PUT of a manifest: event-based replication to every other
// Harbor, with override, and the webhook. What moves nothing fires too.
func (w *world) pushed(h *memHarbor, repo, reference string, d digest.Digest, operator string) {
	byDigest := reference == string(d)
	if !w.cfg.content || byDigest {
		for _, other := range w.harbors {
			switch {
			case other == h, w.cfg.away(other.name):
			case other.is() != "": // the execution fails at once, and is not repeated
				w.count("replications lost", 1)
			default:
				w.later(func() { w.lookUp(h, other, repo, reference, syncRobot) })
			}
		}
	}
	w.hook(h, "PUSH_ARTIFACT", operator, repo, reference, d)
}

// removed fires what follows a delete: a webhook that names one of the tags. Deletes are
// not replicated.
func (w *world) removed(h *memHarbor, repo string, tags []string, d digest.Digest, operator string) {
	w.hook(h, "DELETE_ARTIFACT", operator, repo, append(tags, string(d))[0], d)
}

// lookUp replicates a tag: to what it is at the source now. That is written when it has
// been copied, whatever the tag has become meanwhile, here or there.
func (w *world) lookUp(from, to *memHarbor, repo, reference, operator string) {
	if from.is() != "" { // its jobservice does it later, or has lost it
		if w.dice(2) == 0 {
			w.later(func() { w.lookUp(from, to, repo, reference, operator) })
		}
		return
	}
	d, a, ok := from.get(repo, reference)
	there, _, _ := to.get(repo, reference)
	if !ok || there == d || to.is() != "" {
		return
	}
	time.Sleep(time.Duration(w.dice(int(longestCopy))))
	if to.is() != "" {
		w.count("replications lost", 1)
		return
	}
	if before, _, ok := to.get(repo, reference); ok && reference != string(d) && w.pushOrder(d) < w.pushOrder(before) {
		w.count("rollbacks by replication", 1)
	}
	w.count("replications", 1)
	to.put(repo, reference, a, operator)
}

// pullAll is a scheduled pull of everything that another Harbor has, older or newer.
func (w *world) pullAll(to, from *memHarbor) {
	if w.cfg.away(to.name) {
		return
	}
	w.count("scheduled pulls", 1)
	for _, repo := range worldRepos {
		tags, digests := from.list(repo)
		if w.cfg.content {
			for _, d := range digests {
				w.later(func() { w.lookUp(from, to, repo, string(d), jobservice) })
			}
			continue
		}
		for _, tag := range tags {
			w.later(func() { w.lookUp(from, to, repo, tag, jobservice) })
		}
	}
}

// retain removes an artifact at one Harbor, as a retention rule does.
func (w *world) retain(h *memHarbor) {
	repo := worldRepos[w.dice(len(worldRepos))]
	_, digests := h.list(repo)
	if h.is() != "" || len(digests) == 0 {
		return
	}
	d := digests[w.dice(len(digests))]
	h.mu.Lock()
	for tag, at := range h.repos[repo].tags {
		if at == d {
			h.retained[repo+":"+tag] = d
		}
	}
	h.mu.Unlock()
	w.count("removed by retention", 1)
	w.lost(d)
	h.remove(repo, d, jobservice)
}

// backUp keeps what the Harbor has now.
func (w *world) backUp(h *memHarbor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	copied := map[string]*memRepo{}
	for name, r := range h.repos {
		copied[name] = r.clone()
	}
	h.backups = append(h.backups[max(0, len(h.backups)-3):], copied)
}

// restore puts a Harbor back to one of its backups, or makes it anew: empty.
func (w *world) restore(h *memHarbor, empty bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string]*memRepo{}
	if !empty && len(h.backups) > 0 {
		for name, r := range h.backups[w.dice(len(h.backups))] {
			next[name] = r.clone()
		}
	}
	for repo, r := range h.repos {
		for d := range r.artifacts {
			if next[repo] == nil || next[repo].artifacts[d].body == nil {
				w.lost(d)
			}
		}
	}
	h.repos = next
	maps.DeleteFunc(h.retained, func(tag string, _ digest.Digest) bool { // what a backup has not is as it was: no edge can know
		repo, name, _ := strings.Cut(tag, ":")
		return empty || next[repo] != nil && next[repo].tags[name] != ""
	})
	what := map[bool]string{true: "rebuilt", false: "restored"}[empty]
	w.count("Harbors "+what, 1)
	for _, tag := range w.allTags() {
		repo, name, _ := strings.Cut(tag, ":")
		d := digest.Digest("")
		if next[repo] != nil {
			d = next[repo].tags[name]
		}
		w.note(tag, "Harbor %s is %s, and has %s", h.name, what, short(d))
	}
}

// hook queues a webhook to the datacenter's edge: it comes late, in any order, and is
// tried three times.
func (w *world) hook(h *memHarbor, kind, operator, repo, tag string, d digest.Digest) {
	if !w.cfg.webhooks {
		return
	}
	project, name, _ := strings.Cut(repo, "/")
	body, _ := json.Marshal(map[string]any{"type": kind, "occur_at": time.Now().Unix(), "operator": operator, "event_data": map[string]any{
		"resources":  []any{map[string]any{"digest": d, "tag": tag, "resource_url": "harbor." + h.name + "/" + repo + ":" + tag}},
		"repository": map[string]any{"name": name, "namespace": project, "repo_full_name": repo, "repo_type": "private"}}})
	w.later(func() { w.deliver(h.name, body, 1) })
}

func (w *world) deliver(datacenter string, body []byte, attempt int) {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+datacenter+".edge/breakwater/v1/webhook", bytes.NewReader(body))
	if err != nil {
		panic(fmt.Sprint("a webhook's request: ", err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+worldWebhookSecret)
	resp, err := w.ask(datacenter, req)
	if (err != nil || resp.StatusCode >= 300) && attempt < webhookAttempts {
		w.later(func() { w.deliver(datacenter, body, attempt+1) })
	} else if err == nil && resp.StatusCode < 300 {
		w.count("webhooks delivered", 1)
	}
}
