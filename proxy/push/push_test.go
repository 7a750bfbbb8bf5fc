package push

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// notes are what a Pusher told of its writes, in order.
type notes struct {
	all    []string
	pushed []Pushed
	held   map[digest.Digest][]byte
	begun  int // pushes that are begun as versions
}

func (n *notes) Written(repo, moved string) { n.all = append(n.all, "written "+repo+" "+moved) }
func (n *notes) Deleted(_ namespace.Namespace, repo string, d digest.Digest, _ version.Version, _ http.Header) {
	n.all = append(n.all, "deleted "+repo+" "+d.String())
}
func (n *notes) Pushed(p Pushed) {
	n.all, n.pushed = append(n.all, "pushed "+p.Repo+" "+p.Reference+" by "+p.By.Name), append(n.pushed, p)
}
func (n *notes) Doubted(p Pushed) {
	n.all = append(n.all, "doubted "+p.Repo+" "+p.Reference+" by "+p.By.Name)
}
func (n *notes) Begun(_ string, _ digest.Digest, b version.Begun) (version.Begun, string) {
	n.begun++
	b.Version.Time++
	return b, "marked"
}
func (n *notes) Read(d digest.Digest) ([]byte, error) { return n.held[d], nil }

// world is a Harbor and two peers' edges that say what they are told, and a Pusher before
// them.
type world struct {
	*Pusher
	*notes
	harbor, mad1, drp1 *trial.Registry
	dir                string       // of the store
	passed             atomic.Int64 // how far the clock is ahead
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{notes: &notes{held: map[digest.Digest][]byte{}}, dir: t.TempDir()}
	begin := func(name, datacenter, prefix string, kind source.Kind) (*trial.Registry, *source.Source) {
		s := trial.NewRegistry(t)
		r, err := registry.NewSource(registry.SourceConfig{URL: s.URL, Prefix: prefix, Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		cfg := source.Config{Name: name, Datacenter: datacenter, Kind: kind, Registry: r}
		if kind == source.Peer {
			cfg.Show = func(h http.Header) error {
				h.Set("Authorization", "Bearer the-edges")
				return nil
			}
		}
		return s, source.New(t.Context(), cfg)
	}
	var harbor, mad1, drp1 *source.Source
	w.harbor, harbor = begin("harbor", "", "", source.Harbor)
	w.mad1, mad1 = begin("peer-mad1", "mad1", peer.Path, source.Peer)
	w.drp1, drp1 = begin("peer-drp1", "drp1", peer.Path, source.Peer)
	blobs, err := store.Open(store.Config{Dir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	checker, err := access.New(access.Config{Harbor: harbor.Registry})
	if err != nil {
		t.Fatal(err)
	}
	w.Pusher = New(Config{Harbor: harbor, Peers: func() []*source.Source { return []*source.Source{mad1, drp1} }, Pass: pass.ToHarbor("harbor", harbor.Registry), Store: blobs, Access: checker,
		Manifests: w.notes, Deadline: time.Minute, Stalled: time.Minute, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.passed.Load())) }})
	return w
}

const (
	demo       = "multi-dc-demo/app"
	credential = "Basic the-clients"
	manifest   = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`
	layer      = "a layer's bytes"
)

var (
	layerDigest = digest.FromString(layer)
	broken      = trial.Answer{Status: http.StatusInternalServerError}
	noSession   = trial.Answer{Status: http.StatusNotFound, Body: `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"x"}]}`}
	databaseOff = trial.Answer{Status: http.StatusUnauthorized, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"failed to connect to 10.0.0.7"}]}`}
)

// created is a registry's word that it has taken something, where it says that is.
func created(location string) trial.Answer {
	return trial.Answer{Status: http.StatusCreated, Header: http.Header{"Location": {location}}}
}

// request is a client's write.
func request(method, target, body string, header ...string) Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", credential)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	parsed, err := registry.ParseRequest(method, r.URL)
	if err != nil {
		panic(err)
	}
	return Request{HTTP: r, Parsed: parsed, Namespace: namespace.NewTable(nil).Of(parsed.Project()), Begun: version.Begun{Version: version.Version{Time: 6, Datacenter: "par1"}}}
}

// write has a request written, and returns what the client hears; an error is an answer too.
func (w *world) write(r Request) *httptest.ResponseRecorder {
	rw := httptest.NewRecorder()
	write, err := w.Begin(rw, r)
	if err == nil {
		err = write.Serve(rw)
	}
	var e *registry.Error
	if errors.As(err, &e) {
		rw.WriteHeader(e.Status)
		fmt.Fprint(rw, e.Code)
	}
	return rw
}

func putManifest(reference string, header ...string) Request {
	return request(http.MethodPut, "/v2/"+demo+"/manifests/"+reference, manifest, header...)
}

// body is what a registry was sent.
func body(r *http.Request) string {
	all, _ := io.ReadAll(r.Body)
	return string(all)
}

// A manifest goes to the local Harbor with the client's own credentials, and is noted
// before the client hears of it.
func TestAManifestThatHarborTakes(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say("PUT /v2/"+demo+"/manifests/v1", created("/v2/"+demo+"/manifests/v1"))
	rw := w.write(putManifest("v1", "Content-Type", "application/vnd.example", peer.RecordHeader, "made up"))
	if got := fmt.Sprint(w.all); rw.Code != http.StatusCreated || got != "[written "+demo+" v1 pushed "+demo+" v1 by harbor]" {
		t.Errorf("%d, %s", rw.Code, got)
	}
	sent := w.harbor.Asked()[0]
	if body(sent) != manifest || sent.Header.Get("Authorization") != credential || sent.Header.Get(peer.RecordHeader) != "" || sent.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%v", sent.Header)
	}
	p := w.pushed[0]
	if p.Digest != digest.FromString(manifest) || string(p.Manifest) != manifest || p.ContentType != "application/vnd.example" || p.FromPeer || p.Begun.Version.Time != 7 || p.Answer == nil {
		t.Errorf("%+v", p)
	}
	if len(w.mad1.Asked())+len(w.drp1.Asked()) > 0 || w.stuckTo(demo) != nil {
		t.Error("a peer was asked")
	}
}

// What a Harbor answers about itself sends the push to the next one; what it answers
// about the push is the client's to read.
func TestWhoTakesAPush(t *testing.T) {
	text := http.Header{"Content-Type": {"text/plain"}}
	for name, c := range map[string]struct {
		answer trial.Answer
		status int
		passed bool // to mad1
	}{
		"an error":                   {broken, 201, true},
		"a gateway's":                {trial.Answer{Status: 502}, 201, true},
		"a page":                     {trial.Answer{Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: "<html>"}, 201, true},
		"a redirect to one":          {trial.Answer{Status: 302, Header: http.Header{"Location": {"/login"}}}, 201, true},
		"an ingress's 404":           {trial.Answer{Status: 404, Header: text, Body: "default backend"}, 201, true},
		"a dead database":            {databaseOff, 201, true},
		"a registry's 404":           {noSession, 404, false},
		"no such project":            {trial.Answer{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"project multi-dc-demo not found"}]}`}, 401, false},
		"a challenge":                {trial.Answer{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="http://x/service/token",service="harbor-registry"`}}}, 401, false},
		"a quota":                    {trial.Answer{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"quota"}]}`}, 403, false},
		"an immutable tag":           {trial.Answer{Status: 412, Body: `{"errors":[{"code":"PRECONDITION","message":"immutable"}]}`}, 412, false},
		"the largest of the clients": {trial.Answer{Status: 499}, 499, false},
	} {
		w := newWorld(t)
		at := "/v2/" + demo + "/manifests/v1"
		w.harbor.Say("PUT "+at, c.answer)
		w.mad1.Say("PUT "+peer.Path+at, created(peer.Path+at))
		rw := w.write(putManifest("v1"))
		if rw.Code != c.status || !c.passed && rw.Body.String() != c.answer.Body {
			t.Errorf("%s: %d %s", name, rw.Code, rw.Body)
		}
		if passed := w.mad1.AskedFor("PUT ") == 1; passed != c.passed || w.drp1.AskedFor("PUT ") != 0 {
			t.Errorf("%s: passed on %t", name, passed)
		}
		if c.passed != (fmt.Sprint(w.all) == "[written "+demo+" v1 pushed "+demo+" v1 by peer-mad1]") && c.passed != (len(w.pushed) == 1 && w.pushed[0].By.Name == "peer-mad1") {
			t.Errorf("%s: %q", name, w.all)
		}
		if !c.passed {
			if len(w.all) > 0 {
				t.Errorf("%s: what was refused is noted: %q", name, w.all)
			}
			continue
		}
		sent := w.mad1.Asked()[0]
		if body(sent) != manifest || sent.Header.Get("Authorization") != "Bearer the-edges" || sent.Header.Get(peer.ClientHeader) != credential || sent.Header.Get(peer.RecordHeader) != "marked" {
			t.Errorf("%s: %v", name, sent.Header)
		}
		if got := rw.Header().Get("Location"); got != "http://example.com"+at {
			t.Errorf("%s: Location %s", name, got)
		}
	}
}

// A peer that refuses this edge says nothing of the push; when nobody takes it, that is
// 503, and what it may have done is doubted.
func TestAPushThatNobodyTakes(t *testing.T) {
	w := newWorld(t)
	refusesUs := trial.Answer{Status: http.StatusForbidden, Header: http.Header{"Cache-Status": {"breakwater; fwd=bypass; detail=edge"}}}
	w.harbor.Say("PUT /v2/"+demo+"/manifests/v1", trial.Answer{Status: http.StatusForbidden, Header: refusesUs.Header})
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusForbidden {
		t.Errorf("Harbor's own refusal: %d", rw.Code)
	}
	w.harbor.Say("PUT /v2/"+demo+"/manifests/v1", broken)
	for _, s := range []*trial.Registry{w.mad1, w.drp1} {
		s.Say("PUT "+peer.Path+"/v2/"+demo+"/manifests/v1", refusesUs)
	}
	w.all = nil
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusServiceUnavailable || w.drp1.AskedFor("PUT") != 1 {
		t.Errorf("%d", rw.Code)
	}
	if !strings.Contains(fmt.Sprint(w.all), "doubted "+demo+" v1 by harbor") || len(w.pushed) > 0 {
		t.Errorf("%q", w.all)
	}
	w.mad1.Say("PUT "+peer.Path+"/v2/"+demo+"/manifests/v1", trial.Answer{Status: http.StatusForbidden, Header: http.Header{"Cache-Status": {"breakwater; fwd=bypass; detail=harbor"}}, Body: "a quota"})
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusForbidden || rw.Body.String() != "a quota" || w.drp1.AskedFor("PUT") != 1 {
		t.Errorf("the refusal of a peer's Harbor: %d %s", rw.Code, rw.Body)
	}
	w.mad1.Say("PUT "+peer.Path+"/v2/"+demo+"/manifests/v1", refusesUs)
	w.drp1.Say("PUT "+peer.Path+"/v2/"+demo+"/manifests/v1", trial.Answer{Status: 500, Body: "the last one's own words"})
	w.all = nil
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusServiceUnavailable || strings.Contains(rw.Body.String(), "own words") {
		t.Errorf("%d %s", rw.Code, rw.Body)
	}
	if got := w.all[len(w.all)-1]; got != "doubted "+demo+" v1 by peer-drp1" {
		t.Errorf("%q", w.all)
	}
	w.harbor.CloseClientConnections()
	w.harbor.Close()
	r := request(http.MethodPut, "/v2/plain/app/manifests/v1", manifest)
	if rw := w.write(r); rw.Code != http.StatusServiceUnavailable || w.mad1.AskedFor("PUT "+peer.Path+"/v2/plain") != 0 {
		t.Errorf("a plain project's: %d", rw.Code)
	}
}

// Only pushes into multi-dc-* go to a peer: what another edge sends, what is deleted and
// what other projects take is the local Harbor's. Its refusal is in its own words; what it says
// when it is down, or its database, is not.
func TestWhatStaysAtTheLocalHarbor(t *testing.T) {
	fromPeer := putManifest("v1", peer.RecordHeader, "mad1's")
	fromPeer.FromPeer = true
	for name, r := range map[string]Request{
		"another edge's":   fromPeer,
		"a delete":         request(http.MethodDelete, "/v2/"+demo+"/manifests/v1", ""),
		"a repl- project":  request(http.MethodPut, "/v2/repl-core/app/manifests/v1", manifest),
		"a plain project":  request(http.MethodPut, "/v2/plain/app/manifests/v1", manifest),
		"a session's part": request(http.MethodPatch, "/v2/"+demo+"/blobs/uploads/7", layer),
	} {
		w := newWorld(t)
		w.harbor.Say(r.HTTP.URL.Path, trial.Answer{Status: 403, Body: "Harbor's own words"})
		if rw := w.write(r); rw.Code != 403 || rw.Body.String() != "Harbor's own words" || len(w.mad1.Asked())+len(w.drp1.Asked()) > 0 {
			t.Errorf("%s: %d %s", name, rw.Code, rw.Body)
		}
		if got := w.harbor.Asked()[0].Header.Get(peer.RecordHeader); got != "" { // it is between edges
			t.Errorf("%s: Harbor is told %q", name, got)
		}
		if w.begun > 0 {
			t.Errorf("%s: a version of it is begun here", name)
		}
		for _, down := range []trial.Answer{
			{Status: 500, Body: "dial tcp 10.0.0.7:6379: refused"},
			{Status: 500, Body: `{"errors":[{"code":"UNKNOWN","message":"dial tcp 10.0.0.7:6379: refused"}]}`},
			{Status: 502, Body: "<html><center>nginx</center></html>", Header: http.Header{"Content-Type": {"text/html"}}},
			{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"failed to connect to user=postgres: 10.0.0.7:5432"}]}`, Header: http.Header{"Www-Authenticate": {""}}},
		} {
			w.harbor.Say(r.HTTP.URL.Path, down)
			text := map[string]string{http.MethodPut: manifest, http.MethodPatch: layer}[r.HTTP.Method]
			r.HTTP.Body = io.NopCloser(strings.NewReader(text))
			want, code := 503, "UNAVAILABLE"
			if strings.Contains(down.Body, `"code":"UNKNOWN"`) { // a registry's word: of a manifest that is none, too
				want, code = 500, "UNKNOWN"
			}
			if rw := w.write(r); rw.Code != want || !strings.Contains(rw.Body.String(), code) || strings.Contains(rw.Body.String(), "10.0.0.7") {
				t.Errorf("%s, Harbor answers %d: %d %s", name, down.Status, rw.Code, rw.Body)
			}
		}
	}
}

// A repo's pushes go on where its blobs went, for a quarter of an hour; a new upload
// begins at the local Harbor as soon as that is back.
func TestAPushStaysWhereItBegan(t *testing.T) {
	w := newWorld(t)
	at := "/v2/" + demo + "/blobs/uploads/"
	w.harbor.Say("POST "+at, broken)
	w.mad1.Say("POST "+peer.Path+at, trial.Answer{Status: 202, Header: http.Header{"Location": {peer.Path + at + "77?state=x%2Fy"}}})
	rw := w.write(request(http.MethodPost, at, ""))
	if got := rw.Header().Get("Location"); rw.Code != 202 || got != "http://example.com"+at+"77?state=x%2Fy&_breakwater=mad1" {
		t.Fatalf("%d, Location %s", rw.Code, got)
	}
	order := func(r Request) (names string) {
		targets, err := w.targetsOf(&r)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets {
			names += target.Name + " "
		}
		return names
	}
	if got := order(putManifest("v1")); got != "peer-mad1 harbor peer-drp1 " {
		t.Errorf("a manifest goes to %s", got)
	}
	if got := order(request(http.MethodPost, at, "")); got != "harbor peer-mad1 peer-drp1 " {
		t.Errorf("a new upload goes to %s", got)
	}
	if got := order(request(http.MethodPut, "/v2/multi-dc-demo/other/manifests/v1", manifest)); got != "harbor peer-mad1 peer-drp1 " {
		t.Errorf("another repo's goes to %s", got)
	}
	w.passed.Store(int64(10 * time.Minute)) // the stay is not prolonged while Harbor is there
	w.mad1.Say("PUT "+peer.Path+"/v2/"+demo+"/manifests/v1", created("x"))
	if rw := w.write(putManifest("v1")); rw.Code != 201 {
		t.Fatal(rw.Code)
	}
	w.passed.Store(int64(15*time.Minute - time.Second))
	if got := order(putManifest("v1")); got != "peer-mad1 harbor peer-drp1 " {
		t.Errorf("before the end: %s", got)
	}
	w.passed.Store(int64(15*time.Minute + time.Second))
	if got := order(putManifest("v1")); got != "harbor peer-mad1 peer-drp1 " {
		t.Errorf("after it: %s", got)
	}
}

// What follows in a session goes where it was opened, by the mark alone, which is a name
// of a closed table and no Harbor's to read.
func TestASessionsMark(t *testing.T) {
	w := newWorld(t)
	at := "/v2/" + demo + "/blobs/uploads/77"
	w.drp1.Say("PATCH "+peer.Path+at, trial.Answer{Status: 202, Header: http.Header{"Location": {peer.Path + at}}})
	if rw := w.write(request(http.MethodPatch, at+"?state=x&_breakwater=drp1", layer)); rw.Code != 202 || rw.Header().Get("Location") != "http://example.com"+at+"?_breakwater=drp1" {
		t.Errorf("%d %v", rw.Code, rw.Header())
	}
	if sent := w.drp1.Asked()[0]; sent.URL.RawQuery != "state=x" || body(sent) != layer {
		t.Errorf("%s", sent.URL)
	}
	for _, target := range []string{at + "?_breakwater=sfo1", at + "?_breakwater=par1", "/v2/" + demo + "/blobs/uploads/?_breakwater=mad1", at + "?_breakwater=" + "http%3A%2F%2Fevil.example"} {
		if rw := w.write(request(http.MethodPatch, at, layer)); rw.Code != 404 { // Harbor knows no such session
			t.Errorf("%d", rw.Code)
		}
		method := http.MethodPatch
		if strings.HasSuffix(strings.Split(target, "?")[0], "/") {
			method = http.MethodPost
		}
		before := len(w.harbor.Asked())
		if rw := w.write(request(method, target, layer)); rw.Code != 404 || !strings.Contains(rw.Body.String(), "BLOB_UPLOAD_UNKNOWN") || len(w.harbor.Asked()) != before {
			t.Errorf("%s: %d %s", target, rw.Code, rw.Body)
		}
	}
	w.mad1.Say("GET "+peer.Path+at, broken) // the session is there and nowhere else
	if rw := w.write(request(http.MethodGet, at+"?_breakwater=mad1", "")); rw.Code != http.StatusServiceUnavailable || w.drp1.AskedFor("GET") != 0 || w.harbor.AskedFor("GET") != 0 {
		t.Errorf("a session whose Harbor fails: %d", rw.Code)
	}
	fromPeer := request(http.MethodPatch, at+"?_breakwater=drp1", layer)
	fromPeer.FromPeer = true
	if w.write(fromPeer); w.drp1.AskedFor("PATCH") != 1 {
		t.Error("a peer's request went to another peer")
	}
}
