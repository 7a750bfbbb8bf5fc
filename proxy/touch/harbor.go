package touch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

var (
	errGone    = errors.New("it is not held by Harbor")
	errRefused = errors.New("the edge's robot is not let by Harbor")
)

const (
	askDeadline = 15 * time.Second // then it is looked whether Harbor lives
	maxArtifact = 4 << 20          // bytes of one as Harbor's API tells it
)

// artifact is one as Harbor's API has it.
type artifact struct {
	Pulled time.Time `json:"pull_time"`
	Tags   []struct {
		Name   string
		Pulled time.Time `json:"pull_time"`
	}
}

// fresh is how a pull that Harbor has counted within the interval ends the touch.
type fresh struct{ at time.Time }

// Error implements error.
func (f fresh) Error() string { return "a pull was counted " + f.at.Format(time.RFC3339) }

// attempt shows Harbor a pull: nil where it has counted it. A Harbor is never asked for what
// it does not hold: its proxy caches would fetch it.
func (t *Toucher) attempt(ctx context.Context, p Pull) error {
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	ns := t.cfg.Namespace(p.Repo)
	if ns.Kind == namespace.Plain { // it was managed once
		return errGone
	}
	reference, err := t.reference(ctx, p, ns)
	if errors.Is(err, errRefused) && ns.Kind != namespace.Cache { // it may pull, and no more: nothing is fetched for these
		reference, err = t.underTag(ctx, p, ns)
	}
	if err != nil {
		return err
	}
	return t.pull(ctx, reference, ns, io.Discard, registry.MaxManifest)
}

// reference asks Harbor whether it holds the artifact, and returns by what it is to be pulled:
// by its tag where it still has that.
func (t *Toucher) reference(ctx context.Context, p Pull, ns namespace.Namespace) (registry.Request, error) {
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: p.Repo, Digest: p.Digest}
	resp, err := t.ask(ctx, ns, func(ctx context.Context) (*http.Response, error) {
		return t.cfg.Harbor.Registry.API(ctx, registry.ArtifactsPath(p.Repo)+"/"+p.Digest.String(), url.Values{"with_tag": {"true"}})
	})
	if err != nil {
		return req, err
	}
	if resp.StatusCode != http.StatusOK {
		switch e := registry.ReadError(resp); {
		case e.Status == http.StatusNotFound && e.Code != "":
			return req, errGone
		case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
			return req, errRefused
		default:
			return req, outcome.DontKnow(e)
		}
	}
	defer resp.Body.Close()
	var a artifact
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxArtifact)).Decode(&a); err != nil {
		return req, outcome.DontKnow(fmt.Errorf("read what Harbor says of an artifact: %w", err))
	}
	pulled := a.Pulled
	for _, tag := range a.Tags {
		if tag.Name == p.Tag {
			req.Tag, req.Digest, pulled = p.Tag, "", tag.Pulled
		}
	}
	if t.cfg.Now().Sub(pulled).Abs() < t.cfg.Every() { // by a client of its own, or another replica of this edge
		return req, fresh{pulled}
	}
	return req, nil
}

// underTag is reference, by what every robot may that pulls. When Harbor has counted a pull is
// not told so.
func (t *Toucher) underTag(ctx context.Context, p Pull, ns namespace.Namespace) (registry.Request, error) {
	req := registry.Request{Method: http.MethodGet, Kind: registry.KindManifest, Repo: p.Repo, Digest: p.Digest}
	if p.Tag == "" {
		return req, nil
	}
	resp, err := t.content(ctx, registry.Request{Method: http.MethodHead, Kind: registry.KindManifest, Repo: p.Repo, Tag: p.Tag}, ns)
	if err != nil {
		return req, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK && resp.Header.Get("Docker-Content-Digest") == p.Digest.String() {
		req.Tag, req.Digest = p.Tag, ""
	}
	return req, nil
}

// pull reads content from Harbor, so many bytes at most. A GET of a manifest that is answered 200
// is what Harbor counts.
func (t *Toucher) pull(ctx context.Context, req registry.Request, ns namespace.Namespace, to io.Writer, most int64) error {
	resp, err := t.content(ctx, req, ns)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return t.meaning(req.Repo, ns, resp)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, io.LimitReader(resp.Body, most)); err != nil {
		return outcome.DontKnow(err)
	}
	return nil
}

// meaning is what an answer means that is not 200.
func (t *Toucher) meaning(repo string, ns namespace.Namespace, resp *http.Response) error {
	e := registry.ReadError(resp)
	err := source.Step{Source: t.cfg.Harbor, Repo: repo, Namespace: ns}.Meaning(e)
	switch {
	case outcome.IsNo(err), outcome.IsPolicy(err): // what its policy forbids nobody can pull from it
		return errGone
	case (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) && e.Code != "" && resp.Header.Get("Www-Authenticate") != "":
		return errRefused
	}
	return outcome.DontKnow(err)
}

func (t *Toucher) content(ctx context.Context, req registry.Request, ns namespace.Namespace) (*http.Response, error) {
	return t.ask(ctx, ns, func(ctx context.Context) (*http.Response, error) {
		return t.cfg.Harbor.Registry.Do(ctx, req, http.Header{"Accept": {t.cfg.Accept}})
	})
}

// ask sends Harbor a request. Nobody waits for it: a Harbor that is slow is waited for as by
// who reads, and what it does not say here is not held against it when clients ask.
func (t *Toucher) ask(ctx context.Context, ns namespace.Namespace, send func(context.Context) (*http.Response, error)) (*http.Response, error) {
	asking, answered := source.NewVigil(askDeadline).Over(ctx, source.Step{Source: t.cfg.Harbor, Namespace: ns})
	resp, err := send(asking)
	answered(err)
	if err != nil && ctx.Err() == nil {
		t.cfg.Harbor.Suspect()
	}
	return resp, err
}

// finish notes how an attempt went. It reports whether Harbor has answered.
func (t *Toucher) finish(p Pull, err error) (answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, now := t.entries[p], t.cfg.Now()
	if e == nil {
		return true
	}
	var known fresh
	result := resultTouched
	switch {
	case errors.As(err, &known):
		result, now = resultKnown, known.at
	case errors.Is(err, errGone) && t.cfg.Namespace(p.Repo).Kind == namespace.Cache && e.tries < arrives: // it may be on its way into the cache
		e.tries++
		t.schedule(p, e, settle*t.cfg.Pace<<e.tries)
		return true
	case errors.Is(err, errGone) && e.Past:
		t.heals(p)
		return true
	case errors.Is(err, errGone):
		result, now = resultAbsent, e.at()
	case err != nil:
		return t.again(p, e, errors.Is(err, errRefused))
	}
	t.settle(p, e, result, now)
	return true
}

// settle ends what is owed of a pull, which was shown then; t.mu is held.
func (t *Toucher) settle(p Pull, e *entry, result string, at time.Time) {
	t.metrics.touched.WithLabelValues(result).Inc()
	e.Owed, e.Past, e.Since, e.tries, e.result = false, false, 0, 0, result
	e.At = min(at.UnixMilli(), t.cfg.Now().UnixMilli())
	t.save(p, e)
}

// again has a pull that Harbor was not shown tried later, and later; t.mu is held. It reports
// whether Harbor has answered: that it does not let the edge says nothing of other projects.
func (t *Toucher) again(p Pull, e *entry, refused bool) (answered bool) {
	e.tries++
	wait := t.cfg.Pace << min(e.tries, 20)
	if !refused {
		e.result = resultFailed
		t.metrics.touched.WithLabelValues(resultFailed).Inc()
		t.schedule(p, e, min(wait, lastFailed*t.cfg.Pace))
		return false
	}
	e.result = resultRefused
	t.metrics.touched.WithLabelValues(resultRefused).Inc()
	t.schedule(p, e, min(wait, lastRefused*t.cfg.Pace))
	if !t.warned {
		t.warned = true
		t.cfg.Log.Warn("Harbor does not let the edge's robot pull, or see whether a proxy cache holds, what is pulled here; its retention may delete that. breakwater provision apply lets it",
			"repo", p.Repo, "digest", p.Digest.String())
	}
	return true
}
