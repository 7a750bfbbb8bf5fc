package lab

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const apiRecordings = "testdata/api"

// family is a set of recordings that were made one after the other, against
// Harbors that held what setup makes. before has what was done between two of
// them and not recorded, by the name of the later.
type family struct {
	name   string
	setup  func(w *world)
	before map[string]func(w *world)
}

// TestAPI replays the recordings of the management API: each family in the order
// in which it was recorded, against fresh Harbors.
func TestAPI(t *testing.T) {
	used := map[string]bool{}
	replayed := map[string]bool{}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t)
			if f.setup != nil {
				f.setup(w)
			}
			done := map[string]bool{}
			for _, name := range recordedOrder(t, f.name) {
				replayed[name+".txt"] = true
				if step := f.before[name]; step != nil {
					step(w)
					done[name] = true
				}
				if pattern, _ := excludedFrom(excludedAPI, name); pattern != "" {
					used[pattern] = true
					continue
				}
				w.replay(name)
			}
			for name := range f.before {
				if !done[name] {
					t.Errorf("there is no recording %s to do something before", name)
				}
			}
		})
	}
	files, err := os.ReadDir(apiRecordings)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !replayed[f.Name()] {
			t.Errorf("%s is of no family", f.Name())
		}
	}
	for pattern, reason := range excludedAPI {
		if !used[pattern] || reason == "" {
			t.Errorf("%s excludes nothing, or without a reason", pattern)
		}
	}
}

func excludedFrom(table map[string]string, name string) (pattern, reason string) {
	for pattern, reason := range table {
		if ok, _ := filepath.Match(pattern, name); ok {
			return pattern, reason
		}
	}
	return "", ""
}

var dateLine = regexp.MustCompile(`(?m)^Date: .* (\d\d:\d\d:\d\d) GMT`)

// recordedOrder lists a family's recordings, by the second and then by name.
func recordedOrder(t *testing.T, family string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(apiRecordings, family+"-*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no recordings")
	}
	at := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		at[name] = "99"
		if m := dateLine.FindSubmatch(text); m != nil {
			at[name] = string(m[1])
		}
		names = append(names, name)
	}
	for name, second := range sameSecond {
		if at[name] != "" {
			at[name] = second
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(at[a], at[b]) })
	return names
}

// world is the Harbors of the recordings, by port, and what the replay learnt:
// the cookies, and the secrets that were made up anew.
type world struct {
	t        *testing.T
	harbors  map[string]*Harbor
	upstream *Upstream
	where    map[string]string
	clock    atomic.Int64 // the Harbors', in nanoseconds: it passes as the recordings say, however busy this machine is
	jars     map[string]http.CookieJar
	tokens   map[string]string // of CSRF, by jar
	secrets  map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, harbors: map[string]*Harbor{}, upstream: startUpstream(t), jars: map[string]http.CookieJar{}, tokens: map[string]string{}, secrets: map[string]string{}}
	where := map[string]string{"http://127.0.0.1:15000": w.upstream.URL()}
	for _, outside := range []string{"https://quay.io", "https://hub.docker.com", "https://ghcr.io"} {
		where[outside] = "http://127.0.0.1:1" // the machine of the recordings was offline
	}
	w.clock.Store(time.Now().UnixNano())
	now := func() time.Time { return time.Unix(0, w.clock.Add(1000)) } // nothing is made at the same time as something else
	for _, port := range []string{"18081", "18082", "18083"} {
		h, err := StartHarbor(HarborConfig{Key: testKey(), Registries: where, Now: now, ReplicationDelay: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		w.harbors[port], w.where = h, where
		where["http://127.0.0.1:"+port] = h.URL()
	}
	return w
}

// replay sends what was sent and compares what comes back.
func (w *world) replay(name string) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(apiRecordings, name+".txt"))
	if err != nil {
		w.t.Fatal(err)
	}
	all := parseRecordings(w.t, name, string(text))
	if len(all) != 1 {
		w.t.Fatalf("%s: %d requests", name, len(all))
	}
	w.t.Run(name, func(t *testing.T) { w.compare(t, all[0]) })
}

func (w *world) compare(t *testing.T, rec recording) {
	t.Helper()
	h := w.harbors[rec.url.Port()]
	w.number(h, rec)
	resp, content := w.send(t, h, rec)
	if resp.StatusCode != rec.status {
		t.Errorf("status %d, Harbor's %d: %s", resp.StatusCode, rec.status, content)
		return
	}
	w.learn(rec.content, content)
	for _, k := range []string{"Content-Type", "Location", "X-Total-Count", "Link", "Www-Authenticate", "Docker-Distribution-Api-Version"} {
		have, want := w.recorded(strings.Join(resp.Header[k], ", ")), strings.Join(rec.answer[k], ", ")
		have, want = isDigest.ReplaceAllString(have, "DIGEST"), isDigest.ReplaceAllString(want, "DIGEST")
		if have != want {
			t.Errorf("%s: %q, Harbor's %q", k, have, want)
		}
	}
	for _, k := range []string{csrfHeader, "Vary"} {
		if _, sent := resp.Header[k]; sent != (rec.answer[k] != nil) {
			t.Errorf("%s is there in one of the two only", k)
		}
	}
	if have, want := cookieNames(resp.Header), cookieNames(rec.answer); have != want {
		t.Errorf("cookies %s, Harbor's %s", have, want)
	}
	switch {
	case strings.HasPrefix(rec.content, `{"token"`):
		compareToken(t, rec.content+"\n\ndecoded claims: "+claimsOf(t, rec.content), content)
	case strings.HasPrefix(rec.content, "{") || strings.HasPrefix(rec.content, "["):
		have, want := canonical(t, w.recorded(content)), canonical(t, strings.ReplaceAll(rec.content, ":18111", ":"+rec.url.Port()))
		if have != want {
			t.Errorf("content%s\nHarbor's%s", without(have, want), without(want, have))
		}
	}
}

// number makes the Harbor give what is created the number that it was given then.
func (w *world) number(h *Harbor, rec recording) {
	location := rec.answer.Get("Location")
	id, err := strconv.Atoi(path.Base(location))
	if err != nil || id == 0 {
		return
	}
	table := path.Base(path.Dir(location))
	if strings.Contains(location, "/webhook/") {
		table = "webhooks"
	}
	h.db.mu.Lock()
	h.db.nextID[table] = id - 1
	if table == "projects" {
		h.db.nextID["members"] = id - 1
	}
	h.db.mu.Unlock()
}

func (w *world) send(t *testing.T, h *Harbor, rec recording) (*http.Response, string) {
	t.Helper()
	u := *rec.url
	u.Host = h.listener.Addr().String()
	now := func(s string) string {
		for recorded, secret := range w.secrets {
			s = strings.ReplaceAll(s, recorded, secret)
		}
		return s
	}
	u.Path, u.RawPath, u.RawQuery = now(u.Path), now(u.RawPath), now(u.RawQuery)
	req, err := http.NewRequest(rec.method, u.String(), strings.NewReader(now(rec.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = rec.header.Clone()
	if user, password, ok := req.BasicAuth(); ok {
		req.SetBasicAuth(user, now(password))
	}
	if rec.body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	jar := w.jar(rec.jar)
	for _, c := range jar.Cookies(&u) {
		if !strings.Contains(rec.header.Get("Cookie"), c.Name+"=") {
			req.AddCookie(c)
		}
	}
	if token := w.tokens[rec.jar]; len(req.Header.Get(csrfHeader)) > 4 {
		req.Header.Set(csrfHeader, token)
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rec.jarOut != "" {
		w.jar(rec.jarOut).SetCookies(&u, resp.Cookies())
	}
	w.tokens[rec.jar] = resp.Header.Get(csrfHeader)
	return resp, string(content)
}

func (w *world) jar(name string) http.CookieJar {
	if w.jars[name] == nil {
		w.jars[name], _ = cookiejar.New(nil)
	}
	return w.jars[name]
}

// learn remembers a secret that the Harbor made up.
func (w *world) learn(recorded, content string) {
	var then, now struct{ Secret string }
	if json.Unmarshal([]byte(recorded), &then) == nil && json.Unmarshal([]byte(content), &now) == nil && then.Secret != "" {
		w.secrets[then.Secret] = now.Secret
	}
}

// recorded replaces the addresses by those of the recordings.
func (w *world) recorded(s string) string {
	s = strings.ReplaceAll(s, "127.0.0.1:1:", "127.0.0.1:18083:")
	for port, h := range w.harbors {
		s = strings.ReplaceAll(s, h.listener.Addr().String(), "127.0.0.1:"+port)
	}
	return s
}

func cookieNames(h http.Header) string {
	var names []string
	for _, line := range h["Set-Cookie"] {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(value, ";") {
			name += " removed"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func claimsOf(t *testing.T, content string) string {
	t.Helper()
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(content), &body); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(body.Token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// without lists the lines of a that b does not have.
func without(a, b string) (lines string) {
	left := strings.Split(b, "\n")
	for line := range strings.SplitSeq(a, "\n") {
		if i := slices.Index(left, line); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			lines += "\n" + line
		}
	}
	return lines
}

var isDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

var isTime = regexp.MustCompile(`^2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)

// canonical is JSON without what differs from run to run: times, digests, made-up
// secrets, the numbers of allow lists, sizes.
func canonical(t *testing.T, s string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	b, err := json.MarshalIndent(plain("", v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func plain(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(k, v[k])
		}
		if key == "cve_allowlist" {
			delete(v, "id")
		}
		delete(v, "size") // of other layers
		return v
	case []any:
		for i := range v {
			v[i] = plain(key, v[i])
		}
		return v
	case string:
		if isTime.MatchString(v) {
			return "TIME"
		}
		if key == "secret" || key == "job_id" {
			return "MADE UP"
		}
		return isDigest.ReplaceAllString(v, "DIGEST")
	case float64:
		if key == "expires_at" && v > 0 {
			return "TIME"
		}
	}
	return v
}
