package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
)

// A source is asked for what is missing, and no more: a part as a closed range, the rest
// as an open one, the whole as itself.
func TestWhatASourceIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, -1, ""}, {7, -1, "bytes=7-"}, {0, 1, "bytes=0-0"}, {7, 4, "bytes=7-10"}} {
		w := newWorld(t)
		w.harbor.Say(at(demo), blob(layer))
		_, sources := w.transfer(blobOf(demo, layerDigest))
		body, err := sources[0].Open(t.Context(), c.offset, c.length)
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		if r := w.harbor.Asked()[0]; r.Header.Get("Range") != c.want || r.Method != http.MethodGet {
			t.Errorf("%d bytes from %d: %s %q", c.length, c.offset, r.Method, r.Header.Get("Range"))
		}
	}
}

// down opens the circuit breaker of the local Harbor.
func (w *world) down(t *testing.T) {
	t.Helper()
	w.harbor.Close()
	w.Routes.Harbor.Suspect()
	trial.Until(t, func() error {
		if w.Routes.Harbor.Usable() {
			return errors.New("the breaker is closed")
		}
		return nil
	})
}

// A Harbor that is known to be down is not asked for a length, and is asked last for
// content.
func TestAHarborThatIsKnownToBeDown(t *testing.T) {
	w := newWorld(t)
	w.down(t)
	w.mad1.Say(at(demo), blob(layer))
	q := blobOf(demo, layerDigest)
	q.Request.Method = http.MethodHead
	b, err := w.Blob(t.Context(), q)
	if content(t, b, err) != layer || b.Origin != Filled || b.Source != "peer-mad1" {
		t.Errorf("%+v", b)
	}
	_, sources := w.transfer(blobOf(demo, layerDigest))
	if last := sources[len(sources)-1].Name; last != "harbor" {
		t.Errorf("%s is asked last", last)
	}
	q.OwnOnly = true // of a peer: nobody else can be asked
	if _, err := newWorldDown(t).Blob(t.Context(), q); !outcome.IsDontKnow(err) {
		t.Errorf("a peer is told %v", err)
	}
}

func newWorldDown(t *testing.T) *world {
	w := newWorld(t)
	w.down(t)
	return w
}

// A source whose word is no proof, and that then has nothing, gives nothing.
func TestAWordWithoutBytes(t *testing.T) {
	for name, c := range map[string]struct {
		get    trial.Answer
		status int
	}{
		"it errs":   {broken, 503},
		"it has no": {refusal(404, "BLOB_UNKNOWN", "x"), 404},
	} {
		w := newWorld(t)
		w.hold(t)
		w.harbor.Say(at(nginx), broken)
		w.mad1.Say(at(nginx), broken)
		w.drp1.Say(at(nginx), broken)
		w.hub.Say("HEAD "+at("nginx"), blob(layer))
		w.hub.Say("GET "+at("nginx"), c.get)
		if b, err := w.Blob(t.Context(), blobOf(nginx, layerDigest)); status(err) != c.status || w.Access.Member(nginx, layerDigest) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}

// Whose client leaves during a HEAD asks nobody else.
func TestAHeadThatIsGivenUp(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := blobOf(demo, layerDigest)
	q.Request.Method = http.MethodHead
	if _, err := w.Blob(ctx, q); !errors.Is(err, context.Canceled) || len(w.mad1.Asked()) > 0 {
		t.Errorf("%v, mad1 was asked %d times", err, len(w.mad1.Asked()))
	}
	w.hold(t)
	if err := w.proveMember(ctx, blobOf(demo, layerDigest)); !errors.Is(err, context.Canceled) || len(w.mad1.Asked()) > 0 {
		t.Errorf("%v, mad1 was asked %d times", err, len(w.mad1.Asked()))
	}
}

// The last word ends a transfer; before there is one, and once a source has answered, it
// goes on.
func TestWhenATransferIsDecided(t *testing.T) {
	w := newWorld(t)
	no := outcome.DontKnow(nil)
	no.Status = http.StatusNotFound
	tr, _ := w.transfer(blobOf(nginx, layerDigest))
	if err := tr.decided(); err != nil {
		t.Errorf("nobody has said anything: %v", err)
	}
	tr.refusals = append(tr.refusals, source.Refusal{Err: no})
	if err := tr.decided(); !outcome.IsNo(err) {
		t.Errorf("somebody who can know said no: %v", err)
	}
	if tr.from = "upstream-hub"; tr.decided() != nil {
		t.Error("it has begun to send")
	}
}

// What a client hears of a transfer that nobody could finish: a no only where nobody sent
// anything, and all said no.
func TestTheVerdictOfATransfer(t *testing.T) {
	no := outcome.DontKnow(nil)
	no.Status = http.StatusNotFound
	broke := errors.New("broke off")
	for name, c := range map[string]struct {
		err    error
		said   []error
		from   string
		status int
	}{
		"all said no":             {broke, []error{no, no}, "", 404},
		"one could not say":       {broke, []error{no, broke}, "", 503},
		"nobody said anything":    {broke, nil, "", 503},
		"one sent something":      {broke, []error{no}, "harbor", 503},
		"one sent something else": {store.ErrWrongContent, []error{no}, "", 503},
	} {
		w := newWorld(t)
		tr, _ := w.transfer(blobOf(demo, layerDigest))
		route := tr.q.Route(w.Routes)
		for i, err := range c.said {
			tr.refusals = append(tr.refusals, source.Refusal{Step: route[i], Err: err})
		}
		tr.from = c.from
		if err := tr.verdict(c.err); status(err) != c.status {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where a source breaks off, the next one sends the rest: what it says it sends is looked at.
func TestTheRestComesFromTheNext(t *testing.T) {
	half := len(layer) / 2
	rest := func(contentRange string) trial.Answer {
		return trial.Answer{Status: http.StatusPartialContent, Header: http.Header{"Content-Range": {contentRange}}, Body: layer[half:]}
	}
	good := fmt.Sprintf("bytes %d-%d/%d", half, len(layer)-1, len(layer))
	for name, c := range map[string]struct {
		mad1   trial.Answer
		source string
	}{
		"the rest":              {rest(good), "peer-mad1"},
		"the rest of a blob":    {rest(fmt.Sprintf("bytes %d-%d/*", half, len(layer)-1)), "peer-mad1"},
		"what it says no of":    {rest("x"), "peer-drp1"},
		"the wrong part":        {rest(fmt.Sprintf("bytes %d-%d/%d", half+1, len(layer), len(layer))), "peer-drp1"},
		"a part of another one": {rest(fmt.Sprintf("bytes %d-%d/%d", half, len(layer)-1, len(layer)+1)), "peer-drp1"},
		"the whole":             {blob(layer), "peer-mad1"},
	} {
		w := newWorld(t)
		broken := blob(layer)
		broken.Body = layer[:half]
		w.harbor.Say(at(demo), broken)
		w.mad1.Say(at(demo), c.mad1)
		w.drp1.Say(at(demo), rest(good))
		b, err := w.Blob(t.Context(), blobOf(demo, layerDigest))
		if got := content(t, b, err); got != layer {
			t.Errorf("%s: %q", name, got)
		}
		if asked := w.drp1.AskedFor("GET "+at(demo)) > 0; asked != (c.source == "peer-drp1") {
			t.Errorf("%s: drp1 asked %t", name, asked)
		}
		if r := w.mad1.Asked()[0]; r.Header.Get("Range") != fmt.Sprintf("bytes=%d-", half) {
			t.Errorf("%s: it is asked for %q", name, r.Header.Get("Range"))
		}
	}
}

// Beside a source that does not answer another one is asked; where there is none it is waited
// for.
func TestASourceThatHangs(t *testing.T) {
	w := newWorld(t)
	w.Deadline = 50 * time.Millisecond
	w.harbor.Say(at(demo), trial.Answer{Never: true})
	w.mad1.Say(at(demo), blob(layer))
	b, err := w.Blob(t.Context(), blobOf(demo, layerDigest))
	if content(t, b, err) != layer || b.Source != "peer-mad1" {
		t.Errorf("%+v", b)
	}
	w = newWorld(t)
	w.Deadline = 50 * time.Millisecond
	w.harbor.Say(at(demo), trial.Answer{Never: true})
	ctx, cancel := context.WithTimeout(t.Context(), 5*w.Deadline)
	defer cancel()
	alone := blobOf(demo, layerDigest)
	alone.OwnOnly = true
	if _, err := w.Blob(ctx, alone); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with nobody else to ask: %v", err)
	}
}

// Of a repo that is known to hold a blob nobody is asked, whoever brought it.
func TestAMembersBlobIsNotAskedFor(t *testing.T) {
	w := newWorld(t)
	w.hold(t)
	w.Access.Join(demo, layerDigest)
	b, err := w.Blob(t.Context(), blobOf(demo, layerDigest))
	if content(t, b, err) != layer || b.Origin != Held || len(w.harbor.Asked()) > 0 {
		t.Errorf("%+v, Harbor was asked %d times", b, len(w.harbor.Asked()))
	}
}
