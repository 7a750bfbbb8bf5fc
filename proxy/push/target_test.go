package push

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
)

// Where a repo's blobs went to a peer, the local Harbor that lacks them says nothing of
// the push: the client is told to come again, not that its image is broken.
func TestAManifestWhoseBlobsAreElsewhere(t *testing.T) {
	missing := trial.Answer{Status: http.StatusNotFound, Body: `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`}
	at, to := "/v2/"+demo+"/manifests/v1", "/v2/"+demo+"/blobs/uploads/"
	w := newWorld(t)
	w.harbor.Say("PUT "+at, missing)
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusNotFound {
		t.Errorf("blobs that nobody pushed: %d", rw.Code)
	}
	w.harbor.Say("POST "+to, broken)
	w.mad1.Say("POST "+peer.Path+to, trial.Answer{Status: http.StatusAccepted, Header: http.Header{"Location": {peer.Path + to + "77"}}})
	if rw := w.write(request(http.MethodPost, to, "")); rw.Code != http.StatusAccepted {
		t.Fatal(rw.Code)
	}
	w.mad1.Say("PUT "+peer.Path+at, broken) // it is slow, or goes away
	w.drp1.Say("PUT "+peer.Path+at, broken)
	w.harbor.Say("PUT "+at, missing)
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusServiceUnavailable && rw.Code != http.StatusInternalServerError {
		t.Errorf("blobs that mad1 has: %d %s", rw.Code, rw.Body)
	}
	w.drp1.Say("PUT "+peer.Path+at, missing)
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusServiceUnavailable {
		t.Errorf("and drp1 lacks them too: %d %s", rw.Code, rw.Body)
	}
	w.harbor.Say("PUT "+at, created(at)) // it has got them meanwhile
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated {
		t.Errorf("blobs that Harbor has by now: %d", rw.Code)
	}
}

// awaitUsable waits until probes say so of a source.
func awaitUsable(t *testing.T, s *source.Source, usable bool) {
	t.Helper()
	trial.Until(t, func() error {
		if s.Usable() != usable {
			return fmt.Errorf("%s is usable: %v", s.Name, !usable)
		}
		return nil
	})
}

// A Harbor that is known to be down is asked last, and one that breaks is looked at.
func TestAHarborThatIsKnownToBeDownIsAskedLast(t *testing.T) {
	w := newWorld(t)
	at := "/v2/" + demo + "/manifests/v1"
	for _, s := range []*trial.Registry{w.mad1, w.drp1} {
		s.Say("PUT "+peer.Path+at, created(at))
	}
	w.harbor.Close()
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated || w.pushed[0].By.Name != "peer-mad1" {
		t.Errorf("%d by %q", rw.Code, w.all)
	}
	awaitUsable(t, w.Harbor, false) // the write that failed is what has it looked at
	r := request(http.MethodPut, "/v2/multi-dc-demo/other/manifests/v1", manifest)
	targets, err := w.targetsOf(&r)
	if err != nil || len(targets) != 3 || targets[2].Name != "harbor" {
		t.Errorf("%v, %v", targets, err)
	}
	w.passed.Store(int64(15*time.Minute - time.Second)) // while it is down a stay is prolonged
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated {
		t.Fatal(rw.Code)
	}
	w.passed.Store(int64(30*time.Minute - 2*time.Second))
	if to := w.stuckTo(demo); to == nil || to.Name != "peer-mad1" {
		t.Errorf("it goes to %v", to)
	}
}

// A session at a peer is kept apart from one of the same name at Harbor.
func TestSessionsOfTwoHarbors(t *testing.T) {
	w := newWorld(t)
	to := "/v2/" + demo + "/blobs/uploads/"
	open := func(at string) trial.Answer {
		return trial.Answer{Status: http.StatusAccepted, Header: http.Header{"Location": {at}}}
	}
	w.harbor.Say("POST "+to, open(to+"77"))
	if rw := w.write(request(http.MethodPost, to, "")); rw.Code != http.StatusAccepted {
		t.Fatal(rw.Code)
	}
	w.harbor.Say("POST "+to, broken)
	w.mad1.Say("POST "+peer.Path+to, open(peer.Path+to+"77"))
	if rw := w.write(request(http.MethodPost, to, "")); rw.Code != http.StatusAccepted {
		t.Fatal(rw.Code)
	}
	w.harbor.Say("PATCH "+to+"77", open(to+"77"))
	w.mad1.Say("PATCH "+peer.Path+to+"77", open(peer.Path+to+"77"))
	w.mad1.Say("PUT "+peer.Path+to+"77", created("/v2/"+demo+"/blobs/"+layerDigest.String()))
	w.write(request(http.MethodPatch, to+"77", "other bytes"))
	w.write(request(http.MethodPatch, to+"77?_breakwater=mad1", layer))
	if rw := w.write(request(http.MethodPut, to+"77?digest="+layerDigest.String()+"&_breakwater=mad1", "")); rw.Code != http.StatusCreated {
		t.Fatal(rw.Code)
	}
	if r, err := w.Store.Get(t.Context(), layerDigest); err != nil {
		t.Errorf("it is not held: %v", err)
	} else {
		r.Close()
	}
	if w.sessions.Len() != 1 {
		t.Errorf("%d sessions are open, and one goes on", w.sessions.Len())
	}
}

// A Harbor that hangs, and says nothing to a probe either, is not waited for where others are
// there to be asked.
func TestAHarborThatHangs(t *testing.T) {
	at, to := "/v2/"+demo+"/manifests/v1", "/v2/"+demo+"/blobs/uploads/"
	w := newWorld(t)
	w.Deadline = 50 * time.Millisecond
	w.harbor.Say("/v2/", trial.Answer{Never: true})
	w.harbor.Say("PUT "+at, trial.Answer{Never: true})
	w.harbor.Say("POST "+to, trial.Answer{Never: true})
	w.mad1.Say("PUT "+peer.Path+at, created(at))
	w.mad1.Say("POST "+peer.Path+to, trial.Answer{Status: http.StatusAccepted, Header: http.Header{"Location": {peer.Path + to + "77"}}})
	begun := time.Now()
	if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated || time.Since(begun) < w.Deadline {
		t.Errorf("a manifest: %d after %v", rw.Code, time.Since(begun))
	}
	w.sticky.Purge()
	if rw := w.write(request(http.MethodPost, to, "")); rw.Code != http.StatusAccepted {
		t.Errorf("an upload: %d", rw.Code)
	}
}

// A Harbor that is slow is waited for, though others could take the write: it would be written
// twice.
func TestASlowHarborsWriteIsNotWrittenAgain(t *testing.T) {
	to, tag := "/v2/"+demo+"/blobs/uploads/", "/v2/"+demo+"/manifests/v1"
	for name, c := range map[string]struct {
		write  Request
		answer trial.Answer
	}{
		"a manifest": {putManifest("v1"), created(tag)},
		"an upload":  {request(http.MethodPost, to, ""), opened(to + "77")},
		"a mount":    {request(http.MethodPost, to+"?mount="+layerDigest.String()+"&from=multi-dc-demo/b", ""), created("/v2/" + demo + "/blobs/" + layerDigest.String())},
		"a delete":   {request(http.MethodDelete, "/v2/"+demo+"/manifests/"+layerDigest.String(), ""), trial.Answer{Status: http.StatusAccepted}},
	} {
		w := newWorld(t)
		w.Deadline = 20 * time.Millisecond
		probed := make(chan struct{}) // when the deadline has passed, and the write goes on
		c.answer.After = probed
		w.harbor.Say(c.write.HTTP.Method+" "+c.write.HTTP.URL.RequestURI(), c.answer)
		w.harbor.Say("/v2/", trial.Answer{})
		go func() {
			defer close(probed)
			trial.Until(t, func() error {
				if n := w.harbor.AskedFor("GET /v2/"); n < 1 && c.write.HTTP.Method != http.MethodDelete { // who is alone is not probed
					return fmt.Errorf("%d probes", n)
				}
				return nil
			})
		}()
		if rw := w.write(c.write); rw.Code != c.answer.Status {
			t.Errorf("%s: %d", name, rw.Code)
		}
		if n := len(w.mad1.Asked()) + len(w.drp1.Asked()); n > 0 {
			t.Errorf("%s: peers were asked %d times", name, n)
		}
	}
}

// A Harbor that is seen to be down is not waited for by what has nobody else to ask.
func TestADownHarborIsNotWaitedForLong(t *testing.T) {
	w := newWorld(t)
	w.Deadline = 50 * time.Millisecond
	w.harbor.Say("/v2/", broken)
	w.harbor.Say("DELETE /v2/plain/app/manifests/v1", trial.Answer{Never: true})
	w.Harbor.Suspect()
	trial.Until(t, func() error {
		if w.Harbor.Usable() {
			return errors.New("the breaker is closed")
		}
		return nil
	})
	if rw := w.write(request(http.MethodDelete, "/v2/plain/app/manifests/v1", "")); rw.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", rw.Code)
	}
}

// What a client says in a header that is between edges reaches no peer, and a peer's Location
// that is none is the client's to read.
func TestWhatGoesToAPeerIsTheEdges(t *testing.T) {
	refused := putManifest("v1", peer.RecordHeader, "made up")
	refused.Refused = true
	refused.HTTP.Body, refused.HTTP.ContentLength = http.NoBody, 0
	for name, r := range map[string]Request{"an upload": request(http.MethodPost, uploads, "", peer.RecordHeader, "made up"), "a manifest that is not kept": refused} {
		w := newWorld(t)
		w.harbor.Say(r.HTTP.URL.Path, broken)
		w.mad1.Say(peer.Path+r.HTTP.URL.Path, opened("http://[::1/"))
		if rw := w.write(r); rw.Code != http.StatusAccepted || rw.Header().Get("Location") != "http://[::1/" {
			t.Errorf("%s: %d, Location %q", name, rw.Code, rw.Header().Get("Location"))
		}
		if got := w.mad1.Asked()[0].Header.Get(peer.RecordHeader); got != "" {
			t.Errorf("%s: the peer is told %q", name, got)
		}
	}
}

// A manifest that is pushed by another kind of digest is known by that.
func TestAManifestBySha512(t *testing.T) {
	w := newWorld(t)
	d := digest.SHA512.FromString(manifest)
	at := "/v2/" + demo + "/manifests/" + d.String()
	w.harbor.Say("PUT "+at, created(at))
	if rw := w.write(putManifest(d.String())); rw.Code != http.StatusCreated || w.pushed[0].Digest != d || w.pushed[0].Reference != d.String() {
		t.Errorf("%d %+v", rw.Code, w.pushed)
	}
	if got := w.all[0]; got != "written "+demo+" " {
		t.Errorf("a tag is moved: %q", got)
	}
}

// held is a body that says when it is read, and ends when it is let go.
type held struct{ read, end chan struct{} }

func (h held) Read([]byte) (int, error) {
	close(h.read)
	<-h.end
	return 0, io.EOF
}

// Of two requests at once into one session nobody can tell what it holds: nothing is kept.
func TestTwoPartsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.harbor.Say("POST "+uploads, opened(uploads+"77"))
	w.harbor.Say("PATCH "+uploads+"77", opened(uploads+"77"))
	w.harbor.Say("PUT "+uploads+"77", created("/v2/"+demo+"/blobs/"+layerDigest.String()))
	w.write(request(http.MethodPost, uploads, ""))
	slow, body := patch(""), held{make(chan struct{}), make(chan struct{})}
	slow.HTTP.Body, slow.HTTP.ContentLength = io.NopCloser(body), -1
	ended := make(chan int)
	go func() { ended <- w.write(slow).Code }()
	<-body.read
	if rw := w.write(patch(layer)); rw.Code != http.StatusAccepted {
		t.Errorf("the second part: %d", rw.Code)
	}
	close(body.end)
	if code := <-ended; code != http.StatusAccepted {
		t.Errorf("the first part: %d", code)
	}
	if rw := w.write(put(layer, layerDigest).request); rw.Code != http.StatusCreated || w.holds(layerDigest) {
		t.Errorf("%d, held %t", rw.Code, w.holds(layerDigest))
	}
	trial.Until(t, func() error {
		if n := w.kept(t); n > 0 || w.sessions.Len() > 0 {
			return fmt.Errorf("%d files are left, and %d sessions", n, w.sessions.Len())
		}
		return nil
	})
}

// A client that was told by a HEAD that a peer has its blob does not upload it: the manifest goes
// there, though Harbor is back. Where all are seen to be down, all are asked.
func TestAPushEndsWhereAHeadFoundItsBlob(t *testing.T) {
	blob, at := "/v2/"+demo+"/blobs/"+layerDigest.String(), "/v2/"+demo+"/manifests/v1"
	for _, all := range []bool{false, true} {
		w := newWorld(t)
		w.harbor.Say("/v2/", trial.Answer{Status: http.StatusBadGateway})
		w.harbor.Say("HEAD "+blob, broken)
		w.Harbor.Suspect()
		awaitUsable(t, w.Harbor, false)
		w.mad1.Say("HEAD "+peer.Path+blob, trial.Answer{Header: http.Header{"Content-Length": {fmt.Sprint(len(layer))}}})
		w.mad1.Say("PUT "+peer.Path+at, created(at))
		if all {
			for i, s := range []*trial.Registry{w.mad1, w.drp1} {
				s.Say("/v2/", trial.Answer{Status: http.StatusBadGateway})
				w.Peers()[i].Suspect()
				awaitUsable(t, w.Peers()[i], false)
			}
		}
		if size, from, err := w.Head(request(http.MethodHead, blob, "")); err != nil || from != "peer-mad1" || size != int64(len(layer)) {
			t.Fatalf("all down %v: %d of %q, %v", all, size, from, err)
		}
		w.harbor.Say("/v2/", trial.Answer{})
		w.harbor.Say("PUT "+at, created(at))
		awaitUsable(t, w.Harbor, true)
		if rw := w.write(putManifest("v1")); rw.Code != http.StatusCreated || w.pushed[0].By.Name != "peer-mad1" {
			t.Errorf("all down %v: the manifest: %d by %q", all, rw.Code, w.all)
		}
	}
}
