package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// preheatTimeout is how long Harbor waits for a provider.
const preheatTimeout = 10 * time.Second

// candidate is an image by one of its tags.
type candidate struct {
	repo, tag, digest string // repo in full
	labels            []*label
}

// takes reports whether the policy's filters leave the image. The policy's own filters of
// signatures and vulnerabilities count for nothing in Harbor: the project's settings do, which
// the stand-in has none of. Without any filter Harbor fails.
func (p *preheatPolicy) takes(c candidate) bool {
	filters, err := p.filters()
	if err != nil {
		return false
	}
	_, name, _ := strings.Cut(c.repo, "/")
	taken := false
	for _, f := range filters {
		value, _ := f.Value.(string)
		ok := true
		switch f.Type {
		case "repository":
			ok, _ = doublestar.Match(value, name)
		case "tag":
			ok, _ = doublestar.Match(value, c.tag)
		case "label":
			for want := range strings.SplitSeq(value, ",") {
				ok = ok && slices.ContainsFunc(c.labels, func(l *label) bool { return l.Name == want })
			}
		default:
			continue
		}
		if !ok {
			return false
		}
		taken = true
	}
	return taken
}

// candidates are the images of the project that have tags.
func (p *project) candidates() (all []candidate) {
	for repo, rec := range p.repos {
		for tag, t := range rec.tags {
			if a := rec.artifacts[t.Digest]; a != nil && artifactType(a) == "IMAGE" {
				all = append(all, candidate{repo, tag, t.Digest, a.labels})
			}
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return strings.Compare(a.repo+":"+a.tag, b.repo+":"+b.tag) })
	return all
}

// runPreheatPolicy is the button: every image that the policy takes. An instance that is not
// well, and a policy that is off, are 500s.
func (h *Harbor) runPreheatPolicy(c *apiCall) error {
	var p *preheatPolicy
	var i preheatInstance
	err := h.locked(func() (err error) {
		if p, err = h.preheatPolicyOf(c); err != nil {
			return err
		}
		found := h.db.preheater(func(o *preheatInstance) bool { return o.ID == p.Provider })
		if found == nil || !p.Enabled {
			return broken()
		}
		i = *found
		return nil
	})
	if err != nil {
		return err
	}
	if err := i.health(c.r.Context()); err != nil {
		return broken()
	}
	return h.locked(func() error {
		images := slices.DeleteFunc(c.project.candidates(), func(o candidate) bool { return !p.takes(o) })
		run := h.preheat(p, i, images)
		return c.created("/projects/%s/preheat/policies/%s/executions/%d", c.r.PathValue("project"), p.Name, run.ID)
	})
}

// preheatEvent starts what is to follow a push, the database locked: of the pushed tag alone.
func (h *Harbor) preheatEvent(e event) {
	if e.kind != pushed || len(e.tags) == 0 {
		return
	}
	for _, c := range e.project.candidates() {
		if c.repo != e.repo || c.tag != e.tags[0] || c.digest != e.digest {
			continue
		}
		for _, p := range e.project.preheats {
			t, err := p.trigger()
			i := h.db.preheater(func(o *preheatInstance) bool { return o.ID == p.Provider })
			if err == nil && i != nil && p.Enabled && t.Type == "event_based" && p.takes(c) {
				h.preheat(p, *i, []candidate{c})
			}
		}
	}
}

// preheat has the instance told of the images, the database locked.
func (h *Harbor) preheat(p *preheatPolicy, i preheatInstance, images []candidate) *preheatRun {
	t, _ := p.trigger()
	run := &preheatRun{ID: h.db.id("preheatruns"), trigger: t.Type, total: len(images), start: h.db.now()}
	p.runs = append(p.runs, run)
	external := h.URL()
	h.jobs.after(0, func(ctx context.Context) {
		failed := 0
		for _, c := range images {
			if err := i.preheat(ctx, external, c); err != nil {
				failed++
			}
		}
		h.db.mu.Lock()
		defer h.db.mu.Unlock()
		run.failed, run.done, run.end = failed, true, h.db.now()
	})
	return run
}

// health is what the driver asks before each image (GET /health): any 2xx is well.
func (i preheatInstance) health(ctx context.Context) error {
	if i.Vendor != kraken {
		return fmt.Errorf("no driver registered for provider %s", i.Vendor)
	}
	return i.do(ctx, http.MethodGet, "/health", nil)
}

// preheat tells the instance of one image, as the driver "kraken" does: a push event in an
// envelope whose names begin with capitals. Any 2xx is the end of it.
func (i preheatInstance) preheat(ctx context.Context, external string, c candidate) error {
	if err := i.health(ctx); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"Events": []any{map[string]any{"Id": randomHex(16), "TimeStamp": time.Now().UTC(), "Action": "push", "Request": nil, "Actor": nil,
		"Target": map[string]string{"MediaType": "application/vnd.docker.distribution.manifest.v2+json", "Digest": c.digest, "Repository": c.repo, "Tag": c.tag,
			"Url": external + "/v2/" + c.repo + "/manifests/" + c.tag}}}})
	if err != nil {
		return err
	}
	return i.do(ctx, http.MethodPost, "/registry/notifications", body)
}

func (i preheatInstance) do(ctx context.Context, method, path string, body []byte) error {
	client := &http.Client{Timeout: preheatTimeout, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: i.Insecure}}} //nolint:gosec // as the instance says
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(i.Endpoint, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", apiJSON)
	if body != nil {
		req.Header.Set("Content-Type", apiJSON)
	}
	for name, secret := range i.AuthInfo { // Harbor takes one of them
		switch i.AuthMode {
		case "BASIC":
			req.SetBasicAuth(name, secret)
		case "CUSTOM":
			req.Header.Set(name, secret)
		case "OAUTH":
			req.Header.Set("Authorization", "Bearer "+secret)
		}
		break
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}
