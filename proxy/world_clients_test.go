package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// What clients do through edges, and what the model is told of it.

const (
	clientPatience     = time.Minute
	acknowledgedHeader = "Breakwater-Acknowledged" // the datacenters that knew of a write when its answer left
)

// request is a client's request for a manifest, and the answer with its body read.
func (w *world) request(edge, method, tag, reference, body string) (resp *http.Response, content []byte, err error) {
	repo, name, _ := strings.Cut(tag, ":")
	if reference == "" {
		reference = name
	}
	user := writer
	if method == http.MethodGet || method == http.MethodHead {
		user = reader // who may push is told where pushes go, and of other things than who pulls
	}
	ctx, cancel := context.WithTimeout(w.ctx, clientPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://harbor.example.org/v2/"+repo+"/manifests/"+reference, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.tokenFor(user))
	if body != "" {
		req.Header.Set("Content-Type", worldIndexType)
	}
	if resp, err = w.ask(edge, req); err != nil {
		return nil, nil, err
	}
	content, err = io.ReadAll(resp.Body)
	return resp, content, err
}

// manifest makes a new manifest for a tag or, sometimes, takes one that was pushed before.
func (w *world) manifest(tag string) string {
	again := w.dice(10) == 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.pushes[tag]; again && len(before) > 0 {
		return before[0]
	}
	w.serial++
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"tag":%q,"n":"%d"}}`, worldIndexType, tag, w.serial)
}

// notePush notes which digest was pushed last.
func (w *world) notePush(tag, body string) digest.Digest {
	d := digest.FromString(body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	w.order[d] = w.serial
	before := slices.DeleteFunc(w.pushes[tag], func(b string) bool { return b == body })
	w.pushes[tag] = append(before[max(0, len(before)-3):], body)
	return d
}

// push pushes a manifest through an edge, and returns the edges that a pull has to show it
// through: none where it was not answered 201.
func (w *world) push(edge, tag string) []string {
	body := w.manifest(tag)
	d := w.notePush(tag, body)
	calm := w.calm()
	wr := w.model.begin(tag, d, edge, false)
	w.note(tag, "client: %v begins", wr)
	resp, content, err := w.request(edge, http.MethodPut, tag, "", body)
	return w.wrote(tag, wr, calm, resp, content, err, http.StatusCreated, "pushes")
}

// remove deletes a digest that was pushed, mostly the last one.
func (w *world) remove(edge, tag string) {
	w.mu.Lock()
	bodies := slices.Clone(w.pushes[tag])
	w.mu.Unlock()
	if len(bodies) == 0 {
		return
	}
	body := bodies[len(bodies)-1]
	if w.dice(3) == 0 {
		body = bodies[w.dice(len(bodies))]
	}
	d := digest.FromString(body)
	wr := w.model.begin(tag, d, edge, true)
	w.note(tag, "client: %v begins", wr)
	resp, content, err := w.request(edge, http.MethodDelete, tag, string(d), "")
	w.wrote(tag, wr, false, resp, content, err, http.StatusAccepted, "deletes")
}

// wrote tells the model how a write was answered.
func (w *world) wrote(tag string, wr *write, calm bool, resp *http.Response, content []byte, err error, want int, what string) []string {
	if err != nil || resp.StatusCode != want {
		w.model.end(tag, wr, false, nil)
		w.count(what+" refused", 1)
		said := fmt.Sprint(err)
		if err == nil {
			said = fmt.Sprintf("%d %.200s", resp.StatusCode, content)
		}
		w.note(tag, "client: %v: %s", wr, said)
		if calm && w.calm() {
			w.fail(tag, &fault{"e", fmt.Sprintf("%v is refused, and nothing is down: %s", wr, said)})
		}
		return nil
	}
	var by []string
	for name := range strings.SplitSeq(resp.Header.Get(acknowledgedHeader), ",") {
		if name = strings.TrimSpace(name); slices.Contains(worldDatacenters, name) && name != wr.edge {
			by = append(by, name)
		}
	}
	w.model.end(tag, wr, true, by)
	w.count(what+" acknowledged", 1)
	w.count("acknowledgements of other edges", len(by))
	w.note(tag, "client: %v: %d, acknowledged by %v", wr, resp.StatusCode, by)
	return append(by, wr.edge)
}

// pull pulls a tag through an edge, as docker does: by HEAD and then by digest, or by GET.
func (w *world) pull(edge, tag string) {
	method := []string{http.MethodGet, http.MethodHead}[w.dice(2)]
	calm, began := w.calm(), w.model.beginPull(edge)
	resp, content, err := w.request(edge, method, tag, "", "")
	if err != nil {
		w.count("pulls without an answer", 1)
		if calm && w.calm() {
			w.fail(tag, &fault{"e", fmt.Sprintf("%s does not answer, and nothing is down: %v", edge, err)})
		}
		return
	}
	d := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	what := fmt.Sprintf("client: a pull through %s that began at %d: %d %s, %s", edge, began.began, resp.StatusCode, short(d), resp.Header.Get("Cache-Status"))
	if w.isNews(tag, edge, resp.StatusCode, d) {
		w.note(tag, "%s", what)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		w.count("pulls that were shown a version", 1)
		if method == http.MethodGet && digest.FromBytes(content) != d {
			err = &fault{"e", edge + " sends other bytes than it says"}
			break
		}
		if err = w.model.endPull(tag, began, d); err == nil && method == http.MethodHead {
			w.fetch(edge, tag, d)
		}
	case http.StatusNotFound:
		w.count("pulls answered 404", 1)
		err = w.model.endPull(tag, began, "")
	case http.StatusServiceUnavailable:
		w.count("pulls answered 503", 1)
		if calm && w.calm() {
			err = &fault{"e", fmt.Sprintf("%s says 503, and nothing is down: %s", edge, content)}
		}
	default:
		err = &fault{"e", fmt.Sprintf("%s says %d: %.300s", edge, resp.StatusCode, content)}
	}
	if err != nil {
		w.fail(tag, err)
	}
}

// isNews reports whether a pull showed something else than the one before it, or something
// else has happened to the tag since.
func (w *world) isNews(tag, edge string, status int, d digest.Digest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := fmt.Sprint(status, d, w.noted[tag])
	news := w.shown[edge+" "+tag] != now
	w.shown[edge+" "+tag] = now
	if news {
		w.noted[tag]-- // the note of the pull itself is nothing that has happened
	}
	return news
}

// fetch gets a manifest by the digest that a tag was shown to be.
func (w *world) fetch(edge, tag string, d digest.Digest) {
	resp, content, err := w.request(edge, http.MethodGet, tag, string(d), "")
	if err != nil {
		return
	}
	switch {
	case resp.StatusCode == http.StatusOK && digest.FromBytes(content) != d:
		w.fail(tag, &fault{"e", fmt.Sprintf("%s sends other bytes for %s", edge, short(d))})
	case resp.StatusCode == http.StatusNotFound && !w.model.mayBeDeleted(tag, d) && !w.wasLost(d):
		w.fail(tag, &fault{"e", fmt.Sprintf("%s shows the tag as %s, and says 404 to that digest", edge, short(d))})
	}
}
