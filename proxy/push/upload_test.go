package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

const uploads = "/v2/" + demo + "/blobs/uploads/"

// opened is a registry's word that a session is open, or goes on.
func opened(location string) trial.Answer {
	return trial.Answer{Status: http.StatusAccepted, Header: http.Header{"Location": {location}}}
}

func (w *world) holds(d digest.Digest) bool {
	r, err := w.Store.Get(context.Background(), d)
	if err == nil {
		r.Close()
	}
	return err == nil
}

// step is one request of an upload, and what Harbor says to it.
type step struct {
	request Request
	says    trial.Answer
}

func patch(body string, header ...string) Request {
	return request(http.MethodPatch, uploads+"77?state=x", body, header...)
}

// put ends the session; Harbor says which blob that made.
func put(body string, made digest.Digest, header ...string) step {
	return step{request(http.MethodPut, uploads+"77?digest="+layerDigest.String(), body, header...), created("/v2/" + demo + "/blobs/" + made.String())}
}

// What an upload carries is held when Harbor has said 201, if nothing of it is in doubt;
// whose blob that is, Harbor says.
func TestWhatAnUploadCarriesIsKept(t *testing.T) {
	half := len(layer) / 2
	begin := func() step { return step{request(http.MethodPost, uploads, ""), opened(uploads + "77?state=x")} }
	first := func() step { return step{patch(layer[:half]), opened(uploads + "77")} }
	second := func() step {
		return step{patch(layer[half:], "Content-Range", fmt.Sprintf("%d-%d", half, len(layer)-1)), opened(uploads + "77")}
	}
	other := digest.FromString("another blob")
	called := "/v2/multi-dc-demo/blobs/blobs/" // of a repo that is called as an end point is
	plainPost := request(http.MethodPost, "/v2/plain/app/blobs/uploads/?digest="+layerDigest.String(), layer)
	for name, c := range map[string]struct {
		steps  []step
		held   bool
		member digest.Digest // "": none
	}{
		"in one request":         {[]step{{request(http.MethodPost, uploads+"?digest="+layerDigest.String(), layer), created("/v2/" + demo + "/blobs/" + layerDigest.String())}}, true, layerDigest},
		"at the end":             {[]step{begin(), put(layer, layerDigest)}, true, layerDigest},
		"in parts":               {[]step{begin(), first(), second(), put("", layerDigest)}, true, layerDigest},
		"with a part at the end": {[]step{begin(), first(), put(layer[half:], layerDigest, "Content-Range", fmt.Sprintf("%d-%d", half, len(layer)-1))}, true, layerDigest},
		"a part that begins elsewhere": {[]step{begin(), first(), {patch(layer[half:], "Content-Range", "9-14"), opened(uploads + "77")}, put("", layerDigest)},
			false, layerDigest},
		"a range that is none":       {[]step{begin(), {patch(layer, "Content-Range", "x-14"), opened(uploads + "77")}, put("", layerDigest)}, false, layerDigest},
		"a part that Harbor refuses": {[]step{begin(), first(), {patch(layer[half:]), trial.Answer{Status: 416}}, put("", layerDigest)}, false, layerDigest},
		"a session that is asked for": {[]step{begin(), first(), {request(http.MethodGet, uploads+"77", ""), trial.Answer{Status: 204}}, second(), put("", layerDigest)},
			true, layerDigest},
		"a session that is given up":   {[]step{begin(), first(), second(), {request(http.MethodDelete, uploads+"77", ""), trial.Answer{Status: 204}}, put("", layerDigest)}, false, layerDigest},
		"no session of this edge":      {[]step{put(layer, layerDigest)}, false, layerDigest},
		"a digest that Harbor differs": {[]step{begin(), put(layer, other)}, false, other},
		"no digest that Harbor names":  {[]step{begin(), {request(http.MethodPut, uploads+"77?digest="+layerDigest.String(), layer), created("/elsewhere")}}, false, ""},
		"a mount":                      {[]step{{request(http.MethodPost, uploads+"?mount="+layerDigest.String()+"&from=multi-dc-demo/b", ""), created("/v2/" + demo + "/blobs/" + layerDigest.String())}}, false, layerDigest},
		"a mount that becomes a session": {[]step{{request(http.MethodPost, uploads+"?digest="+layerDigest.String(), layer), opened(uploads + "77")}, put(layer, layerDigest)},
			true, layerDigest},
		"in one request, a digest that Harbor differs": {[]step{{request(http.MethodPost, uploads+"?digest="+layerDigest.String(), layer), created("/v2/" + demo + "/blobs/" + other.String())}}, false, other},
		"in one request, no digest that Harbor names":  {[]step{{request(http.MethodPost, uploads+"?digest="+layerDigest.String(), layer), created("/v2/" + demo + "/blobs/")}}, false, ""},
		"in one request that Harbor refuses":           {[]step{{request(http.MethodPost, uploads+"?digest="+layerDigest.String(), layer), trial.Answer{Status: 403}}}, false, ""},
		"a part of one byte":                           {[]step{begin(), {patch(layer[:1]), opened(uploads + "77")}, {patch(layer[1:]), opened(uploads + "77")}, put("", layerDigest)}, true, layerDigest},
		"a session at no address":                      {[]step{{request(http.MethodPost, uploads, ""), opened("http://[::1/")}}, false, ""},
		"a repo called blobs":                          {[]step{{request(http.MethodPost, called+"uploads/?digest="+layerDigest.String(), layer), created(called + layerDigest.String())}}, true, ""},
		"a plain project":                              {[]step{{plainPost, created("/v2/plain/app/blobs/" + layerDigest.String())}}, false, ""},
	} {
		w := newWorld(t)
		for i, s := range c.steps {
			w.harbor.Say(s.request.HTTP.Method+" "+s.request.HTTP.URL.Path, s.says)
			if rw := w.write(s.request); rw.Code != s.says.Status {
				t.Errorf("%s: request %d: %d", name, i, rw.Code)
			}
		}
		if w.holds(layerDigest) != c.held {
			t.Errorf("%s: held %t", name, !c.held)
		}
		for _, d := range []digest.Digest{layerDigest, other} {
			if w.Access.Member(demo, d) != (d == c.member) {
				t.Errorf("%s: member %t", name, d != c.member)
			}
		}
		trial.Until(t, func() error { // of what has ended nothing is left
			if n := w.kept(t); n > 0 {
				return fmt.Errorf("%s: %d files are left", name, n)
			}
			return nil
		})
		var got strings.Builder
		for _, r := range w.harbor.Asked() {
			got.WriteString(body(r))
		}
		if c.held && !strings.Contains(got.String(), layer) {
			t.Errorf("%s: Harbor got %q", name, &got)
		}
	}
}

// A repo's name may be that of an end point: what a peer makes there is no upload session.
func TestAPeersLocationInARepoCalledAsAnEndPoint(t *testing.T) {
	for path, want := range map[string]string{
		"/v2/multi-dc-demo/blobs/uploads/manifests/v1": "https://c/v2/multi-dc-demo/blobs/uploads/manifests/v1",
		"/v2/multi-dc-demo/blobs/uploads/77":           "https://c/v2/multi-dc-demo/blobs/uploads/77?_breakwater=mad1",
		"/v2/multi-dc-demo/blobs/blobs/uploads/77?a=b": "https://c/v2/multi-dc-demo/blobs/blobs/uploads/77?a=b&_breakwater=mad1",
	} {
		if got := atPeer("https://mad1.example.org"+peer.Path+path, "https://c", "mad1"); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// A manifest is buffered: 4 MiB at most, whole, and no more of all together than there is
// room for. What may not be pushed is not buffered at all.
func TestAManifestIsBuffered(t *testing.T) {
	at := "/v2/" + demo + "/manifests/v1"
	large := strings.Repeat("x", registry.MaxManifest+1)
	chunked := request(http.MethodPut, at, large)
	chunked.HTTP.ContentLength = -1
	cut := request(http.MethodPut, at, manifest)
	cut.HTTP.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{}))
	refused := request(http.MethodPut, at, large)
	refused.Refused = true
	for name, c := range map[string]struct {
		request Request
		status  int
		sent    bool
	}{
		"the largest":           {request(http.MethodPut, at, large[1:]), 201, true},
		"one that is larger":    {request(http.MethodPut, at, large), 413, false},
		"one without a length":  {chunked, 413, false},
		"one that does not end": {cut, 400, false},
		"one that may not be":   {refused, 201, true}, // Harbor says so, not the edge
	} {
		w := newWorld(t)
		w.harbor.Say("PUT "+at, created(at))
		if rw := w.write(c.request); rw.Code != c.status {
			t.Errorf("%s: %d", name, rw.Code)
		}
		if sent := w.harbor.AskedFor("PUT") == 1; sent != c.sent {
			t.Errorf("%s: sent %t", name, sent)
		}
		if len(w.pushed) > 0 == c.request.Refused && c.sent {
			t.Errorf("%s: %q", name, w.all)
		}
		for who := range maxBuffers / maxBuffer {
			if !w.buffers.Take(fmt.Sprint(who), maxBuffer) {
				t.Errorf("%s: the buffers are not given back", name)
			}
		}
		if rw := w.write(putManifest("v1")); rw.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: without room: %d", name, rw.Code)
		}
		for who := range maxBuffers / maxBuffer {
			w.buffers.Give(fmt.Sprint(who), maxBuffer)
		}
		if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated {
			t.Errorf("%s: with room again: %d", name, rw.Code)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the client is gone") }

// breaks has everybody break at a path.
func (w *world) breaks(path string) {
	w.harbor.Say(path, broken)
	w.mad1.Say(peer.Path+path, broken)
	w.drp1.Say(peer.Path+path, broken)
}

// A client that may push asks the Harbor that will take the push.
func TestAHeadBeforeAPush(t *testing.T) {
	blob, tag := "/v2/"+demo+"/blobs/"+layerDigest.String(), "/v2/"+demo+"/manifests/v1"
	has := trial.Answer{Header: http.Header{"Content-Length": {"15"}}}
	no := trial.Answer{Status: http.StatusNotFound}
	for name, c := range map[string]struct {
		path   string
		say    func(w *world)
		size   int64
		from   string
		status int
		member bool
	}{
		"Harbor has it":                {blob, func(w *world) { w.harbor.Say(blob, has) }, 15, "harbor", 200, true},
		"Harbor has one that is empty": {blob, func(w *world) { w.harbor.Say(blob, trial.Answer{Header: http.Header{"Content-Length": {"0"}}}) }, 0, "harbor", 200, true},
		"Harbor has not":               {blob, func(w *world) { w.harbor.Say(blob, no); w.mad1.Say(peer.Path+blob, has) }, 0, "", 404, false},
		"a peer will take it":          {blob, func(w *world) { w.harbor.Say(blob, broken); w.mad1.Say(peer.Path+blob, has) }, 15, "peer-mad1", 200, false},
		"the edge takes it to a peer": {blob, func(w *world) {
			w.harbor.Say(blob, broken)
			w.mad1.Say(peer.Path+blob, no)
			w.Store.Put(layerDigest, []byte(layer))
			w.Access.Join(demo, layerDigest)
		}, 15, "peer-mad1", 200, true},
		"what is held is of another repo": {blob, func(w *world) {
			w.harbor.Say(blob, broken)
			w.mad1.Say(peer.Path+blob, no)
			w.Store.Put(layerDigest, []byte(layer))
		}, 0, "", 404, false},
		"Harbor lacks what is held": {blob, func(w *world) {
			w.harbor.Say(blob, no)
			w.Store.Put(layerDigest, []byte(layer))
			w.Access.Join(demo, layerDigest)
		}, 0, "", 404, true},
		"Harbor does not say":       {blob, func(w *world) { w.harbor.Say(blob, trial.Answer{}); w.mad1.Say(peer.Path+blob, no) }, 0, "", 404, false},
		"nobody says":               {blob, func(w *world) { w.breaks(blob) }, 0, "", 503, false},
		"a manifest that is there":  {tag, func(w *world) { w.harbor.Say(tag, has); w.mad1.Say(peer.Path+tag, no) }, 0, "", 404, false},
		"a manifest that is not":    {tag, func(w *world) { w.harbor.Say(tag, no) }, 0, "", 404, false},
		"a manifest nobody says of": {tag, func(w *world) { w.breaks(tag) }, 0, "", 503, false},
	} {
		w := newWorld(t)
		c.say(w)
		size, from, err := w.Head(request(http.MethodHead, c.path, ""))
		var e *registry.Error
		status := http.StatusOK
		if errors.As(err, &e) {
			status = e.Status
		}
		if size != c.size || from != c.from || status != c.status || w.Access.Member(demo, layerDigest) != c.member {
			t.Errorf("%s: %d of %q, %v, member %t", name, size, from, err, w.Access.Member(demo, layerDigest))
		}
		for _, r := range w.mad1.Asked() {
			if r.Header.Get(peer.PushHeader) != "true" || r.Method != http.MethodHead {
				t.Errorf("%s: %s %v", name, r.Method, r.Header)
			}
		}
		for _, r := range w.harbor.Asked() {
			if r.Header.Get(peer.PushHeader) != "" {
				t.Errorf("%s: Harbor is told what is between edges", name)
			}
		}
	}
	w := newWorld(t)
	if _, _, err := w.Head(request(http.MethodHead, blob+"?_breakwater=mad1", "")); !outcome.IsNo(err) {
		t.Errorf("a mark that is no session's: %v", err)
	}
}

// Who is seen to be down is not asked before a push: an answer of it would be waited for in vain.
func TestAHeadAsksNobodyWhoIsSeenToBeDown(t *testing.T) {
	blob := "/v2/" + demo + "/blobs/" + layerDigest.String()
	w := newWorld(t)
	w.harbor.Say("/v2/", trial.Answer{Status: http.StatusBadGateway})
	w.harbor.Say(blob, trial.Answer{Never: true})
	w.Harbor.Suspect()
	awaitUsable(t, w.Harbor, false)
	for _, s := range []*trial.Registry{w.mad1, w.drp1} {
		s.Say(peer.Path+blob, broken)
	}
	if _, _, err := w.Head(request(http.MethodHead, blob, "")); !outcome.IsDontKnow(err) || w.harbor.AskedFor("HEAD "+blob) != 0 {
		t.Errorf("%v, Harbor asked %d times", err, w.harbor.AskedFor("HEAD "+blob))
	}
}

// A delete that Harbor refuses counts where all that names the digest was deleted before
// and is only there again; else the refusal is the client's to read.
func TestADeleteThatHarborRefuses(t *testing.T) {
	at := "/v2/" + demo + "/manifests/" + layerDigest.String()
	refuses, taken := trial.Answer{Status: http.StatusPreconditionFailed, Body: "something names it"}, trial.Answer{Status: http.StatusAccepted, Header: http.Header{"Content-Type": nil, "Content-Length": {"0"}}}
	immutable := trial.Answer{Status: http.StatusPreconditionFailed, Body: `{"errors":[{"code":"PRECONDITION","message":"the tag v1 configured as immutable, cannot be deleted"}]}`}
	for name, c := range map[string]struct {
		first, second trial.Answer
		unnamed       func() bool // nil: nobody can tell
		status, asked int
	}{
		"nobody can tell":        {refuses, taken, nil, 412, 1},
		"something names it":     {refuses, refuses, func() bool { return false }, 412, 2},
		"it is only there again": {refuses, refuses, func() bool { return true }, 202, 2},
		"that is gone by now":    {refuses, taken, func() bool { return false }, 202, 2},
		"Harbor takes it":        {taken, refuses, func() bool { return true }, 202, 1},
		"its tag is immutable":   {immutable, refuses, func() bool { return true }, 412, 1},
		"its tag is, too":        {refuses, immutable, func() bool { return true }, 412, 2},
		"it is not there":        {trial.Answer{Status: 404}, taken, nil, 404, 1},
		"another refusal":        {trial.Answer{Status: 403}, taken, func() bool { return true }, 403, 1},
	} {
		w := newWorld(t)
		w.harbor.Say("DELETE "+at, c.first)
		r := request(http.MethodDelete, at, "")
		w.Access.Join(demo, layerDigest)
		if c.unnamed != nil {
			r.Unnamed = func(context.Context) bool {
				w.harbor.Say("DELETE "+at, c.second)
				return c.unnamed()
			}
		}
		rw := w.write(r)
		if rw.Code != c.status || w.harbor.AskedFor("DELETE") != c.asked {
			t.Errorf("%s: %d after %d requests", name, rw.Code, w.harbor.AskedFor("DELETE"))
		}
		want := "[]"
		if c.status == http.StatusAccepted {
			want = "[written " + demo + "  deleted " + demo + " " + layerDigest.String() + "]"
		}
		if got := fmt.Sprint(w.all); got != want || w.Access.Member(demo, layerDigest) != (c.status != http.StatusAccepted) {
			t.Errorf("%s: %s, member %t", name, got, w.Access.Member(demo, layerDigest))
		}
		if length := rw.Header().Get("Content-Length"); c.asked == 2 && c.status == http.StatusAccepted && (rw.Header().Get("Content-Type") != "" || length != "0") {
			t.Errorf("%s: an answer of %q bytes of %s", name, length, rw.Header().Get("Content-Type"))
		}
		refused := map[int]string{1: c.first.Body, 2: c.second.Body}[c.asked]
		if c.status == http.StatusAccepted && rw.Body.Len() > 0 || c.status == http.StatusPreconditionFailed && rw.Body.String() != refused {
			t.Errorf("%s: %s", name, rw.Body)
		}
	}
}

// A tag's delete deletes no digest.
func TestADeleteOfATag(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say("DELETE /v2/"+demo+"/manifests/v1", trial.Answer{Status: http.StatusAccepted})
	if rw := w.write(request(http.MethodDelete, "/v2/"+demo+"/manifests/v1", "")); rw.Code != 202 || fmt.Sprint(w.all) != "[written "+demo+" v1]" {
		t.Errorf("%d %q", rw.Code, w.all)
	}
}

// What a manifest names and a peer's Harbor has not is brought there first, if it was
// pushed here. What cannot be brought leaves no refusal of the client's push: 503.
func TestWhatAManifestNamesIsBrought(t *testing.T) {
	naming := `{"schemaVersion":2,"config":{"digest":"` + digest.FromString("nobody's").String() + `"},"layers":[{"digest":"` + layerDigest.String() + `"}]}`
	at, missing := "/v2/"+demo+"/manifests/v1", trial.Answer{Status: http.StatusNotFound}
	for name, c := range map[string]struct {
		upload, manifest trial.Answer
		member, held     bool
		status, uploads  int
		head             trial.Answer
	}{
		"it is brought":             {opened(uploads + "9?state=y"), created(at), true, true, 201, 1, missing},
		"another repo's is not":     {opened(uploads + "9?state=y"), created(at), false, true, 201, 0, missing},
		"the peer takes no upload":  {broken, trial.Answer{Status: 400}, true, true, 503, 1, missing},
		"it takes the manifest yet": {broken, created(at), true, true, 201, 1, missing},
		"its own refusal":           {opened(uploads + "9?state=y"), trial.Answer{Status: 400}, true, true, 400, 1, missing},
		"it is not here either":     {broken, trial.Answer{Status: 400}, true, false, 503, 0, missing},
		"the peer cannot say":       {broken, trial.Answer{Status: 400}, true, true, 503, 0, broken},
	} {
		w := newWorld(t)
		if c.held {
			if err := w.Store.Put(layerDigest, []byte(layer)); err != nil {
				t.Fatal(err)
			}
		}
		w.mad1.Say("HEAD "+peer.Path+"/v2/"+demo+"/blobs/"+layerDigest.String(), c.head)
		if c.member {
			w.Access.Join(demo, layerDigest)
		}
		w.harbor.Say("PUT "+at, broken)
		w.drp1.Say("PUT "+peer.Path+at, trial.Answer{Status: 503})
		w.mad1.Say("POST "+peer.Path+uploads, c.upload)
		w.mad1.Say("PUT "+peer.Path+uploads+"9", created("x"))
		w.mad1.Say("PUT "+peer.Path+at, c.manifest)
		rw := w.write(request(http.MethodPut, at, naming))
		if rw.Code != c.status || w.mad1.AskedFor("POST ") != c.uploads {
			t.Errorf("%s: %d, %d uploads", name, rw.Code, w.mad1.AskedFor("POST "))
		}
		for _, r := range w.mad1.Asked() {
			if strings.HasSuffix(r.URL.Path, "/uploads/9") && (body(r) != layer || r.URL.Query().Get("digest") != layerDigest.String() || r.URL.Query().Get("state") != "y" || r.Header.Get(peer.ClientHeader) != credential) {
				t.Errorf("%s: %s %v", name, r.URL, r.Header)
			}
		}
	}
}
