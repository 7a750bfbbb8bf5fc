package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const repo = "multi-dc-demo/team/app"

// harbor is a Harbor of one repo, and no network.
type harbor struct {
	mu       sync.Mutex
	has      map[string]digest.Digest // by tag, and by digest
	blobs    map[string]bool
	down     bool
	refuses  int               // the status of all writes, 0: it takes them
	putBack  digest.Digest     // what a tag is again right after it was written, "": what was written
	requests []string          // METHOD path, of all but probes
	looks    []time.Time       // at tags
	says     map[string]said   // its answer to METHOD path, in place of what it would do
	takes    time.Duration     // until it answers
	ahead    time.Duration     // its clock, where it says what that shows
	lists    map[string]string // the answers of its API, by path and query; what has none is 404
}

// said is an answer; with a body that is no JSON it is a page.
type said struct {
	status int
	header http.Header
	body   string
}

// RoundTrip implements http.RoundTripper.
func (h *harbor) RoundTrip(r *http.Request) (*http.Response, error) {
	h.mu.Lock()
	takes := h.takes
	h.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return nil, errors.New("connection refused")
	}
	resp := h.answer(r)
	resp.Request = r
	if h.ahead != 0 {
		resp.Header.Set("Date", time.Now().Add(h.ahead).UTC().Format(http.TimeFormat))
	}
	return resp, nil
}

func answer(status int, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: header, Body: io.NopCloser(strings.NewReader(`{"errors":[{"code":"X","message":"no"}]}`))}
}

// answer is what the Harbor says; h.mu is held.
func (h *harbor) answer(r *http.Request) *http.Response {
	path := r.URL.EscapedPath()
	if path == "/v2/" {
		return answer(http.StatusOK, nil)
	}
	h.requests = append(h.requests, r.Method+" "+path)
	if say, ok := h.says[r.Method+" "+path]; ok {
		resp := answer(say.status, say.header.Clone())
		if say.body != "" {
			resp.Header.Set("Content-Type", "text/html")
			resp.Body = io.NopCloser(strings.NewReader(say.body))
		}
		return resp
	}
	if r.Method == http.MethodGet {
		list, ok := h.lists[path+"?"+r.URL.RawQuery]
		switch {
		case !ok:
			return answer(http.StatusNotFound, nil)
		case list == "":
			return answer(http.StatusInternalServerError, nil)
		}
		resp := answer(http.StatusOK, nil)
		resp.Body = io.NopCloser(strings.NewReader(list))
		return resp
	}
	if r.Method != http.MethodHead && h.refuses != 0 {
		return answer(h.refuses, nil)
	}
	return h.serve(r, path)
}

// serve does what is asked; h.mu is held.
func (h *harbor) serve(r *http.Request, path string) *http.Response {
	reference, isManifest := strings.CutPrefix(path, "/v2/"+repo+"/manifests/")
	switch {
	case isManifest && r.Method == http.MethodHead:
		if !strings.Contains(reference, ":") {
			h.looks = append(h.looks, time.Now())
		}
		if d, ok := h.has[reference]; ok {
			return answer(http.StatusOK, http.Header{"Docker-Content-Digest": {d.String()}})
		}
		return answer(http.StatusNotFound, nil)
	case isManifest:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return answer(http.StatusBadRequest, nil)
		}
		d := digest.FromBytes(body)
		h.has[d.String()], h.has[reference] = d, d
		if h.putBack != "" && !strings.Contains(reference, ":") {
			h.has[reference] = h.putBack
		}
		return answer(http.StatusCreated, nil)
	case r.Method == http.MethodHead:
		return answer(map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[h.blobs[path[strings.LastIndexByte(path, '/')+1:]]], nil)
	case r.Method == http.MethodPost:
		return answer(http.StatusAccepted, http.Header{"Location": {"/v2/" + repo + "/blobs/uploads/1"}})
	case r.Method == http.MethodPut:
		h.blobs[r.URL.Query().Get("digest")] = true
		return answer(http.StatusCreated, nil)
	}
	h.remove(path) // DELETE
	return answer(http.StatusOK, nil)
}

// remove deletes a tag, or an artifact and its tags.
func (h *harbor) remove(path string) {
	rest, ok := strings.CutPrefix(path, "/api/v2.0/projects/multi-dc-demo/repositories/team%252Fapp/artifacts/")
	d, tag, isTag := strings.Cut(rest, "/tags/")
	for reference, has := range h.has {
		if ok && has.String() == d && (!isTag || reference == tag) {
			delete(h.has, reference)
		}
	}
}

// site is a Harbor and its follower.
type site struct {
	harbor   *harbor
	source   *source.Source
	ledger   *version.Ledger
	follower *follow.Follower
	metrics  *prometheus.Registry

	mu        sync.Mutex
	content   map[digest.Digest]string
	elsewhere bool
	unsure    error // of Elsewhere
	unread    error // of manifests
	accepts   digest.Digest
	blob      func(context.Context) // is waited for by who takes a blob; nil: nobody waits
}

func newSite(t *testing.T, change ...func(*follow.Config)) *site {
	t.Helper()
	s := &site{harbor: &harbor{has: map[string]digest.Digest{}, blobs: map[string]bool{}}, content: map[digest.Digest]string{}, metrics: prometheus.NewRegistry()}
	r, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "robot", Password: "x", Trusted: true, Wrap: func(http.RoundTripper) http.RoundTripper { return s.harbor }})
	if err != nil {
		t.Fatal(err)
	}
	s.source = source.New(t.Context(), source.Config{Name: "harbor", Kind: source.Harbor, Registry: r})
	s.ledger = version.New(version.Config{Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Changed: func(all map[version.Key]version.Record, own bool) {
			for key, r := range all {
				s.follower.Changed(key, r, own)
			}
		}})
	cfg := follow.Config{Ledger: s.ledger, Harbor: s.source, Content: s.from, Projects: func() []string { return nil }, Settled: time.Hour, Publish: func() bool { return true }, Log: slog.New(slog.DiscardHandler), Metrics: s.metrics, Now: time.Now,
		Elsewhere: func(context.Context, string, digest.Digest) (bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.elsewhere, s.unsure
		},
		Pushing: func(string, digest.Digest) bool { return false },
		Accepts: func(_ version.Key, has digest.Digest) bool { return has != "" && has == s.accepts }}
	for _, c := range change {
		c(&cfg)
	}
	s.follower = follow.New(cfg)
	go s.follower.Run(t.Context())
	return s
}

// from is where what Harbor lacks is taken from.
func (s *site) from(string) carry.From {
	get := func(d digest.Digest) (string, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		content, ok := s.content[d]
		return content, ok
	}
	return carry.From{
		Manifest: func(_ context.Context, d digest.Digest) ([]byte, error) {
			s.mu.Lock()
			err := s.unread
			s.mu.Unlock()
			if err != nil {
				return nil, err
			}
			if content, ok := get(d); ok {
				return []byte(content), nil
			}
			return nil, nil
		},
		Blob: func(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
			if s.blob != nil {
				s.blob(ctx)
			}
			content, ok := get(d)
			if !ok {
				return nil, 0, nil
			}
			return io.NopCloser(strings.NewReader(content)), int64(len(content)), nil
		},
	}
}

// image makes an image that can be had, of one blob.
func (s *site) image(name string) digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	blob := digest.FromString(name)
	manifest := fmt.Sprintf(`{"layers":[{"digest":%q}]}`, blob)
	s.content[blob], s.content[digest.FromString(manifest)] = name, manifest
	return digest.FromString(manifest)
}

// pushed is a push that Harbor took, through this edge.
func (s *site) pushed(tag, name string) digest.Digest {
	d := s.image(name)
	s.harbor.set(map[string]digest.Digest{tag: d, d.String(): d})
	s.ledger.Write(repo, tag, d, "type", s.ledger.Pushes(repo, d, s.ledger.Begin(repo, tag)))
	return d
}

// heard is a push at another datacenter, that is certain.
func (s *site) heard(tag, name string) digest.Digest {
	d := s.image(name)
	s.learn(tag, d, false)
	return d
}

func (s *site) learn(reference string, d digest.Digest, claimed bool) version.Version {
	v := version.Version{Time: s.ledger.Begin(repo, "").Version.Time + 1, Datacenter: "mad1"}
	r := version.Record{Digest: d, MediaType: "type", Version: v}
	if d == "" { // its edge knew of all that is known here
		r.Knew = version.Knew{"par1": v.Time, "mad1": v.Time - 1}
	}
	s.ledger.Learn("mad1", []version.Announced{{Repo: repo, Reference: reference, Record: r}}, claimed, nil)
	return v
}

func (h *harbor) set(has map[string]digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for reference, d := range has {
		h.has[reference] = d
	}
}

func (h *harbor) do(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// fails has one request fail, until it is called without an error.
func (h *harbor) fails(err error, request string) {
	h.do(func() {
		h.says = map[string]said{}
		if err != nil {
			h.says[request] = said{status: http.StatusInternalServerError}
		}
	})
}

func (h *harbor) at(reference string) digest.Digest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.has[reference]
}

// wrote are the requests that were no HEAD, and forgets them.
func (h *harbor) wrote() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all = slices.DeleteFunc(h.requests, func(r string) bool { return strings.HasPrefix(r, "HEAD") })
	h.requests = nil
	return all
}

// value is a metric's, summed over its labels; label "": whatever they are.
func (s *site) value(t *testing.T, name, label string) (n float64) {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return n
}

const (
	followed = "breakwater_edge_harbor_followed_total"
	givenUp  = "breakwater_edge_harbor_given_up"
)

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}
