package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// smallEdge is as little of an edge as keeps the model's rules: what a tag is, is what its
// newest version says, and never what a Harbor says. It remembers all for ever, knows no
// permission and has one repo's worth of code. The model is tried on it, whole and with flaws.
type smallEdge struct {
	e      *memEdge
	net    http.RoundTripper
	now    func() time.Time
	memory *smallMemory
	flaw   string
}

// The flaws that a small edge may have.
const (
	flawClock     = "its clock alone"
	flawForgets   = "a kill forgets"
	flawHarbor    = "Harbor's word"
	flawIdle      = "Harbor left alone"
	flawNoCatchUp = "no catching up"
	flawDelete    = "a delete is newer than all"
	flawAllHeard  = "says that all have heard"
	flawOwnNo     = "its own no"
)

// smallMemory is what outlasts a restart.
type smallMemory struct {
	mu       sync.Mutex
	last     int64 // the newest time that was seen or given
	versions map[string]smallVersion
	bodies   map[digest.Digest]string
}

// smallVersion is what a tag is. A deleted one is as new as what was deleted: what was
// pushed in the meantime stays.
type smallVersion struct {
	At   int64
	By   string
	Gone bool
	Body string
}

func newSmallMemory() *smallMemory {
	return &smallMemory{versions: map[string]smallVersion{}, bodies: map[digest.Digest]string{}}
}

func (v smallVersion) newer(than smallVersion) bool {
	if v.At != than.At {
		return v.At > than.At
	}
	if v.By != than.By {
		return v.By > than.By
	}
	return v.Gone && !than.Gone
}

// next is a time for a new version; the memory is locked.
func (s *smallEdge) next() int64 {
	now := s.now().UnixNano()
	if s.flaw != flawClock {
		now = max(now, s.memory.last+1)
	}
	s.memory.last = max(s.memory.last, now)
	return now
}

// merge takes versions over that are newer.
func (s *smallEdge) merge(all map[string]smallVersion) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for tag, v := range all {
		s.memory.last = max(s.memory.last, v.At)
		s.memory.bodies[digest.FromString(v.Body)] = v.Body
		if old, ok := s.memory.versions[tag]; !ok || v.newer(old) {
			s.memory.versions[tag] = v
		}
	}
}

func (s *smallEdge) all() map[string]smallVersion {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return maps.Clone(s.memory.versions)
}

const (
	smallAnnounce = peer.Path + "/small"
	smallWait     = 250 * time.Millisecond
)

// run follows the versions until ctx ends: Harbor is made to have them, and peers are told.
func (s *smallEdge) run(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.flaw != flawNoCatchUp && s.flaw != flawOwnNo {
			s.announce(ctx, s.all())
		}
		if s.flaw == flawIdle {
			continue
		}
		for tag, v := range s.all() {
			s.follow(ctx, tag, v)
		}
	}
}

// follow makes the local Harbor have a version.
func (s *smallEdge) follow(ctx context.Context, tag string, v smallVersion) {
	repo, name, _ := strings.Cut(tag, ":")
	status, at, _ := s.harbor(ctx, http.MethodHead, "/v2/"+repo+"/manifests/"+name, "")
	switch {
	case status == http.StatusOK && v.Gone:
		project, short, _ := strings.Cut(repo, "/")
		s.harbor(ctx, http.MethodDelete, "/api/v2.0/projects/"+project+"/repositories/"+short+"/artifacts/"+at+"/tags/"+name, "")
	case status == http.StatusOK && at != string(digest.FromString(v.Body)), status == http.StatusNotFound && !v.Gone:
		s.harbor(ctx, http.MethodPut, "/v2/"+repo+"/manifests/"+name, v.Body)
	}
}

// harbor asks the local Harbor; the status is 0 for no answer.
func (s *smallEdge) harbor(ctx context.Context, method, path, body string) (status int, d string, err error) {
	resp, err := s.send(ctx, method, "http://harbor."+s.e.name+path, []byte(body))
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, resp.Header.Get("Docker-Content-Digest"), nil
}

func (s *smallEdge) send(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("robot$edge", secret)
	req.Header.Set("Content-Type", worldIndexType)
	return s.net.RoundTrip(req)
}

// announce tells the peers, and returns those that have heard it.
func (s *smallEdge) announce(ctx context.Context, all map[string]smallVersion) (heard []string) {
	text, _ := json.Marshal(all)
	told := make(chan string, len(worldDatacenters))
	for _, name := range worldDatacenters {
		s.e.w.aside(func() {
			if name == s.e.name {
				told <- ""
			} else if resp, err := s.send(ctx, http.MethodPost, "http://"+name+".edge"+smallAnnounce, text); err == nil && resp.StatusCode == http.StatusOK {
				told <- name
			} else {
				told <- ""
			}
		})
	}
	for range worldDatacenters {
		select {
		case name := <-told:
			if name != "" {
				heard = append(heard, name)
			}
		case <-time.After(smallWait):
		}
	}
	if s.flaw == flawAllHeard {
		return worldDatacenters
	}
	return heard
}

// ServeHTTP implements http.Handler.
func (s *smallEdge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == smallAnnounce { // a POST of nothing asks what is here
		all := map[string]smallVersion{}
		if json.Unmarshal(body, &all) == nil {
			s.merge(all)
		}
		writeMem(w, http.StatusOK, s.all())
		return
	}
	req, err := registry.ParseRequest(r.Method, r.URL)
	if err != nil || req.Kind != registry.KindManifest {
		memError(w, http.StatusNotFound, "NOT_FOUND", "not of this edge")
		return
	}
	switch r.Method {
	case http.MethodPut:
		s.put(w, r, req.Repo+":"+req.Tag, string(body))
	case http.MethodDelete:
		s.remove(w, r, req.Repo, req.Digest)
	default:
		s.get(w, r, req)
	}
}

func (s *smallEdge) put(w http.ResponseWriter, r *http.Request, tag, body string) {
	s.memory.mu.Lock() // its time is that of its beginning: what begins when it has been seen is newer
	v := smallVersion{At: s.next(), By: s.e.name, Body: body}
	s.memory.mu.Unlock()
	if status, _, _ := s.harbor(r.Context(), http.MethodPut, r.URL.Path, body); status != http.StatusCreated {
		memError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "Harbor does not take it")
		return
	}
	s.tell(w, r, tag, v, http.StatusCreated)
}

// tell answers a write, when the peers have heard of it.
func (s *smallEdge) tell(w http.ResponseWriter, r *http.Request, tag string, v smallVersion, status int) {
	all := map[string]smallVersion{tag: v}
	s.merge(all)
	w.Header().Set(acknowledgedHeader, strings.Join(s.announce(r.Context(), all), ", "))
	w.WriteHeader(status)
}

func (s *smallEdge) remove(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest) {
	status, _, _ := s.harbor(r.Context(), http.MethodDelete, r.URL.Path, "")
	for tag, v := range s.all() {
		if !strings.HasPrefix(tag, repo+":") || v.Gone || digest.FromString(v.Body) != d {
			continue
		}
		if status != http.StatusAccepted && status != http.StatusNotFound {
			break
		}
		if v.Gone = true; s.flaw == flawDelete {
			s.memory.mu.Lock()
			v.At, v.By = s.next()+int64(20*time.Second), s.e.name
			s.memory.mu.Unlock()
		}
		s.tell(w, r, tag, v, http.StatusAccepted)
		return
	}
	if status == 0 || status >= 500 || status == http.StatusUnauthorized {
		status = http.StatusServiceUnavailable
	}
	memError(w, status, "UNKNOWN", "as Harbor says")
}

func (s *smallEdge) get(w http.ResponseWriter, r *http.Request, req registry.Request) {
	asked, tag := true, req.Repo+":"+req.Tag
	s.memory.mu.Lock()
	_, known := s.memory.versions[tag]
	_, held := s.memory.bodies[req.Digest]
	s.memory.mu.Unlock()
	if !known && !held && s.flaw != flawOwnNo {
		asked = s.askPeers(r.Context())
	}
	s.memory.mu.Lock()
	v, known := s.memory.versions[tag]
	body, held := s.memory.bodies[req.Digest]
	s.memory.mu.Unlock()
	if req.Tag != "" {
		body, held = v.Body, known && !v.Gone
		if status, at, _ := s.harbor(r.Context(), http.MethodHead, r.URL.Path, ""); s.flaw == flawHarbor && status == http.StatusOK {
			s.memory.mu.Lock()
			body, held = s.memory.bodies[digest.Digest(at)], true
			s.memory.mu.Unlock()
		}
	}
	switch {
	case held:
		w.Header().Set("Docker-Content-Digest", string(digest.FromString(body)))
		io.WriteString(w, body) //nolint:errcheck // a test's answer
	case !asked && !known:
		memError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "nobody can say")
	default:
		if req.Tag != "" && !known { // a push that failed has left it in Harbor
			s.follow(r.Context(), tag, smallVersion{Gone: true})
		}
		memError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no such manifest")
	}
}

// askPeers learns what all peers know; it is false where one did not say.
func (s *smallEdge) askPeers(ctx context.Context) (all bool) {
	all = true
	for _, name := range worldDatacenters {
		if name == s.e.name {
			continue
		}
		resp, err := s.send(ctx, http.MethodPost, "http://"+name+".edge"+smallAnnounce, []byte("{}"))
		versions := map[string]smallVersion{}
		if err != nil || resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&versions) != nil {
			all = false
			continue
		}
		s.merge(versions)
	}
	return all
}
