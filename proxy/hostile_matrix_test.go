package proxy_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

var aDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// reached is what a front of Harbor has been asked for since it had been asked for so much,
// as far as it holds a part: what the edge asks for itself is none of a client's.
func (s *seen) reached(since int, part string) string {
	var all []string
	for _, h := range s.of("")[since:] {
		line := aDigest.ReplaceAllString(h.Get("Line"), "…")
		if line != "GET /v2/" && strings.Contains(line, part) && !strings.Contains(line, "/api/v2.0/") && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return "`" + strings.Join(all, "`, `") + "`"
}

// judged compares what a client got, and what reached Harbor, with the row of the hostile
// matrix in guarantees.md. The test's name is in the row.
func judged(t *testing.T, what string, a answer, reached string) {
	t.Helper()
	said := []string{fmt.Sprint(a.status)}
	for _, name := range []string{"Cache-Status", "Retry-After", "Www-Authenticate", "Docker-Content-Digest"} {
		if value := a.header.Get(name); value != "" {
			value, _, _ = strings.Cut(value, " realm=") // where it is depends on the test
			said = append(said, "`"+name+": "+aDigest.ReplaceAllString(value, "…")+"`")
		}
	}
	row := fmt.Sprintf("| %s | %s | %s | `%s` |\n", what, strings.Join(said, ", "), reached, t.Name())
	page, err := os.ReadFile(guarantees)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(page), row) {
		return
	}
	begin := strings.Index(string(page), "| "+what+" |")
	if !*update || begin < 0 {
		t.Errorf("%s differs from what was found; go test ./proxy -update writes the row, where there is one of that name:\n%s", guarantees, row)
		return
	}
	end := begin + strings.IndexByte(string(page)[begin:], '\n') + 1
	if err := os.WriteFile(guarantees, []byte(string(page)[:begin]+row+string(page)[end:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The robot is disabled, and its request for a token is answered by a limiter before Harbor.
func TestAMadeUpOutageOpensNothing(t *testing.T) {
	s := newSite(t)
	var limited atomic.Bool
	front := watch(t, s, func(w http.ResponseWriter, r *http.Request) bool {
		if limited.Load() && r.URL.Path == "/service/token" {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return limited.Load() && r.URL.Path == "/service/token"
	})
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, _ *proxy.Config, _ *registry.SourceConfig) {
		a.OutageGrace, a.Keys = time.Hour, peerKeys
	})
	if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusOK {
		t.Fatal(status)
	}
	if err := s.harbor.DisableRobot(reader); err != nil {
		t.Fatal(err)
	}
	limited.Store(true)
	before := len(front.of(""))
	a := s.do(t, http.MethodGet, "/service/token?service=harbor-registry&scope="+pullApp, map[string]string{"Authorization": basicHeader(reader, secret)})
	judged(t, "an outage that one request makes up: a limiter answers a disabled robot", a, front.reached(before, ""))
}

// A wrong password announces 4 MiB of a manifest, and sends none of it.
func TestAStrangersManifestTakesNoMemory(t *testing.T) {
	s := newSite(t)
	s.harbor.ResetRequests()
	resp := s.announce(t, basicHeader(writer, "wrong"), 4<<20-1).answer(t)
	reached := &seen{}
	for _, line := range slices.Sorted(maps.Keys(s.harbor.Requests())) {
		reached.requests = append(reached.requests, http.Header{"Line": {line}})
	}
	judged(t, "memory of strangers: a wrong password announces a manifest of 4 MiB", answer{status: resp.StatusCode, header: resp.Header}, reached.reached(0, ""))
}

// A project is deleted and made again; the new one's reader asks for a blob and a tag of
// the old one, which the edge holds, when Harbor cannot say whether the new one has them.
func TestAProjectMadeAgainHasNothingOfTheOld(t *testing.T) {
	s := newSite(t)
	front := watch(t, s, nil)
	var passed atomic.Int64
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		a.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
		p.Now = a.Now
	})
	img := image(t, 10<<10, 9)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	blob, layer := layerOf(t, img)
	h := s.as(t, reader, "multi-dc-demo/app")
	same(t, "before", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), layer)
	raw, _ := img.RawManifest()
	same(t, "before", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
	s.madeAgain(t)
	passed.Store(int64(10 * time.Minute))
	eve := s.as(t, eve, "multi-dc-demo/app")
	s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/none", eve) // the edge learns that it is another project
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
		t.Fatal(err)
	}
	before := len(front.of(""))
	judged(t, "a project made again: a blob of the old one, held here, while Harbor cannot say", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, eve), front.reached(before, ""))
	for what, reference := range map[string]string{"its tag": "v1", "the tag's digest": digestOf(t, img)} {
		before = len(front.of(""))
		judged(t, "a project made again: "+what+", held here, while Harbor cannot say", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/"+reference, eve), front.reached(before, ""))
	}
}

// A manifest was deleted, and Harbor is down.
func TestWhatWasDeletedIsNotServedInAnOutage(t *testing.T) {
	s := newSite(t)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	img := image(t, 10<<10, 9)
	mustPush(t, s.edge.URL, "multi-dc-demo/app:v1", img, basic(writer, secret))
	h := s.as(t, reader, "multi-dc-demo/app")
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	user, password := s.harbor.Admin()
	if status, _ := s.send(t, http.MethodDelete, "/v2/multi-dc-demo/app/manifests/"+digestOf(t, img), map[string]string{"Authorization": basicHeader(user, password)}, nil); status != http.StatusAccepted {
		t.Fatal(status)
	}
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	front.CloseClientConnections()
	before := len(front.of(""))
	judged(t, "what was deleted: its tag, while Harbor is down", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), front.reached(before, "GET "+manifests("multi-dc-demo/app")))
}

// Anybody asks for tokens of names that do not exist in a public project.
func TestAnybodysTokensFillNoDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := state.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		a.Members, a.Grants, p.State, a.OutageGrace, a.Keys = db, db, db, time.Hour, peerKeys
	})
	var a answer
	for i := range 50 {
		query := "/service/token?service=harbor-registry"
		for j := range 32 {
			query += fmt.Sprintf("&scope=repository:repl-open/x%d-%d:pull", i, j)
		}
		a = s.do(t, http.MethodGet, query, nil)
	}
	judged(t, "the disk filled: 1,600 names that do not exist, by anybody", a, front.reached(0, ""))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 64<<10 {
		t.Errorf("state.db has %d bytes, %v", info.Size(), err)
	}
}

// A source says that a blob has as many bytes as a number can say.
func TestALengthThatNoBlobHasTakesNothing(t *testing.T) {
	s := newSite(t)
	held := image(t, 100<<10, 1)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", held, s.admin())
	blob, layer := layerOf(t, held)
	lie := digest.FromString("lie").String()
	front := watch(t, s, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, lie) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(int64(math.MaxInt64)))
		w.WriteHeader(http.StatusOK)
		return true
	})
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	h := s.as(t, reader, "multi-dc-demo/app")
	same(t, "what is held", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), layer)
	before := len(front.of(""))
	judged(t, "lengths: a source says that a blob has 2⁶³-1 bytes", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+lie, h), front.reached(before, ""))
	before = len(front.of(""))
	same(t, "what is held, afterwards", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), layer)
	if got := front.reached(before, ""); got != "nothing" {
		t.Errorf("what was held is asked for again: %s", got)
	}
}

// Eve asks through her own repo for what another project has and the edge holds. What she is
// told, and what Harbor is asked, is as of what nobody has.
func TestCacheStatusTellsNothingOfOtherProjects(t *testing.T) {
	s := newSite(t)
	img := image(t, 100<<10, 6)
	mustPush(t, s.harbor.URL(), "multi-dc-other/app:v1", img, s.admin())
	s.harbor.CreateRobot("multi-dc-other", "reader", secret, "pull")
	theirs, layer := layerOf(t, img)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	same(t, "its own project", s.do(t, http.MethodGet, "/v2/multi-dc-other/app/blobs/"+theirs, s.as(t, "robot$multi-dc-other+reader", "multi-dc-other/app")), layer)
	eve := s.as(t, reader, "multi-dc-demo/app")
	before := len(front.of(""))
	nobodys := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest.FromString("nothing").String(), eve)
	of := front.reached(before, "")
	before = len(front.of(""))
	a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+theirs, eve)
	t.Logf("of what nobody has, Harbor is asked %s", of)
	if a.status != nobodys.status || a.header.Get("Cache-Status") != nobodys.header.Get("Cache-Status") {
		t.Errorf("%d %v, and of what nobody has %d %v", a.status, a.header, nobodys.status, nobodys.header)
	}
	judged(t, "what `Cache-Status` lets out: a digest of another project, held here", a, front.reached(before, ""))
}
