package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

// transfer asks the sources of one repo's route for one blob, long after the request
// that began it may be gone, and notes what they say.
type transfer struct {
	f     *Fetcher
	q     Question
	owner string // the project on whose behalf it began
	vigil *source.Vigil

	mu       sync.Mutex
	from     string // the source that answered last
	refusals []source.Refusal
	reads    map[string]reading // of the sources whose bytes are said to be encoded
}

// transfer returns a transfer of the blob, and the sources of the request's route as
// those of a fill.
func (f *Fetcher) transfer(q Question) (*transfer, []store.Source) {
	t := &transfer{f: f, q: q, owner: f.owner(q), vigil: source.NewVigil(f.Deadline), reads: map[string]reading{}}
	route := f.Routes.ForBlobs(q.Request.Repo, q.Route(f.Routes))
	var sources []store.Source
	stages, _ := source.Stages(route, true)
	for _, stage := range stages {
		for _, s := range stage {
			sources = append(sources, t.sourceOf(s, asItSeems))
		}
	}
	return t, sources
}

// sourceOf is a source of the route, as a fill asks it.
func (t *transfer) sourceOf(s source.Step, as reading) store.Source {
	return store.Source{
		Name: s.Name, Owner: t.owner,
		Verified: func() {
			if t.owner == t.f.owner(t.q) { // else it is another project now, which nobody asked
				t.f.Access.Join(t.q.Request.Repo, t.q.Request.Digest)
			}
		},
		Hedge: t.f.Deadline,
		Open: func(ctx context.Context, offset, length int64) (store.Body, error) {
			return t.open(ctx, s, as, offset, length)
		},
	}
}

// open asks one source for the blob from an offset on. length is -1 for all that follows.
// It returns when the body has begun to come.
func (t *transfer) open(ctx context.Context, s source.Step, as reading, offset, length int64) (store.Body, error) {
	if err := t.decided(); err != nil {
		return store.Body{}, err
	}
	t.f.comes.Add(t.q.Request.Digest, t.q.Request.Repo)
	req, header := s.Under(t.q.Request), s.Header(t.q.Authorization)
	req.Method = http.MethodGet
	switch {
	case t.readingOf(s, as) == decoded: // an offset is one of the bytes as they are encoded
	case length >= 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	asking, answered := source.Beside(t.q.InTrace(ctx)), func(error) {}
	if !store.IsPart(ctx) {
		asking, answered = t.vigil.Over(t.q.InTrace(ctx), s)
	}
	var way trip
	resp, err := s.Do(way.over(asking), req, header, 0)
	body, err := openBody(resp, err)
	if err == nil {
		body.ReadCloser, err = begun(asking, body.ReadCloser)
	}
	answered(err)
	if err == nil && registry.Encoded(resp.Header) {
		if as == asItSeems && t.decide(s, body) == decoded && header.Get("Range") != "" {
			body.Close()
			return t.open(ctx, s, as, 0, -1)
		}
		body = t.read(s, as, body)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		var e *registry.Error
		if errors.As(err, &e) && e.Status < 500 {
			err = s.Meaning(e)
		}
		t.refusals = append(t.refusals, source.Refusal{Step: s, Err: err})
		return store.Body{}, err
	}
	t.from = s.Name
	if body.Doubtful = body.Doubtful || source.IsPage(resp); body.Doubtful {
		return body, nil
	}
	body.Parts, body.Trip = partsOf(s, resp), way.time()
	t.f.Routes.Gave(t.q.Request.Repo, s.Source)
	if t.f.believes(s, t.q.Request) {
		t.f.Access.Join(t.q.Request.Repo, t.q.Request.Digest)
	}
	return body, nil
}

// decided returns the last word, if it has been spoken: no other source is asked then. What an
// upstream does not have any more a peer may have kept.
func (t *transfer) decided() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from != "" {
		return nil
	}
	if last := source.LastWord(t.q.Namespace, t.refusals); t.q.Namespace.Keep == 0 || outcome.IsPolicy(last) {
		return last
	}
	return nil
}

// source is the name of the source that answered; "" where another request began
// the transfer.
func (t *transfer) source() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.from
}

// verdict makes one outcome for the client of what all sources said.
func (t *transfer) verdict(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, store.ErrWrongContent) || len(t.refusals) == 0 || t.from != "" {
		return outcome.DontKnow(err)
	}
	if last := source.LastWord(t.q.Namespace, t.refusals); last != nil {
		return last
	}
	return source.Verdict(t.refusals)
}

// openBody reads where in the blob a source's answer begins. Its error keeps the
// source's own status and words.
func openBody(resp *http.Response, err error) (store.Body, error) {
	if err != nil {
		return store.Body{}, err
	}
	body := store.Body{ReadCloser: resp.Body, Size: resp.ContentLength}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		if body.Offset, body.Size, err = contentRange(resp.Header.Get("Content-Range")); err != nil {
			resp.Body.Close()
			return store.Body{}, outcome.DontKnow(err)
		}
	default:
		return store.Body{}, registry.ReadError(resp)
	}
	return body, nil
}

// partsOf is how many bodies of a blob a source is asked for at once, by what it has answered: 0
// unless it is known to hold the whole, and to honour ranges. A Harbor that is fetching the blob
// itself says neither length nor ranges; a peer says that it does (RFC 9211), and would ask its
// Harbor for each part again.
func partsOf(s source.Step, resp *http.Response) int {
	ranges := resp.StatusCode == http.StatusPartialContent || strings.EqualFold(resp.Header.Get("Accept-Ranges"), "bytes")
	if !ranges || resp.ContentLength < 0 || registry.Encoded(resp.Header) || s.Kind == source.Peer && !strings.HasPrefix(resp.Header.Get("Cache-Status"), "breakwater; hit") {
		return 0
	}
	return s.Bodies()
}

// begun returns the body when its first bytes have come: some send a header before they have
// anything to send. An end is no error here.
func begun(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
	first := make([]byte, 512)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = body.Read(first)
	}
	if err != nil && !errors.Is(err, io.EOF) && n == 0 {
		body.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, outcome.DontKnow(err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first[:n]), body), body}, nil
}

// contentRange reads "bytes first-last/size" (RFC 9110, section 14.4). size is -1
// where it is not said.
func contentRange(s string) (first, size int64, err error) {
	r, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(r, "/")
	from, _, ok3 := strings.Cut(span, "-")
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil || !ok || !ok2 || !ok3 {
		return 0, 0, fmt.Errorf("the source sent the Content-Range %q", s)
	}
	if size, err = strconv.ParseInt(total, 10, 64); err != nil || size < 0 {
		size = -1
	}
	return first, size, nil
}
