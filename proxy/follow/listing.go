package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const (
	listEvery   = 3600 // times cfg.Pace, between two looks through all that Harbor has
	listPause   = 10   // requests of a look in each cfg.Pace
	listPage    = 100  // entries; the most that Harbor gives
	listPages   = 1000
	maxListPage = 16 << 20 // bytes
)

// listed is a tag as Harbor's API lists it.
type listed struct {
	version.Key
	digest           digest.Digest
	pushed, artifact time.Time // when the tag was put, and its manifest was first pushed
}

// watch looks through all that Harbor has, once an hour, for what nobody told of: a
// webhook that was lost, a tag that Harbor's own API has moved.
func (f *Follower) watch(ctx context.Context) {
	var last time.Time
	for pause(ctx, listEvery*f.cfg.Pace) {
		begun := f.cfg.Now()
		for _, project := range f.cfg.Projects() {
			if err := f.look(ctx, project, func(l listed) { f.compare(ctx, l, last) }); err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn("what Harbor has cannot be looked through", "project", project, "err", err.Error())
			}
		}
		last = begun
		f.cfg.Ledger.Expire()
	}
}

// isNews decides whether what Harbor has under a tag is newer than what is known, or was
// put since the last look where nothing is: no replication puts tags of the project, the
// tag was put and its manifest pushed after the newest version, and it is not known to have
// been there before.
func (f *Follower) isNews(l listed, last time.Time) bool {
	if !f.owns(l.Repo) {
		return false
	}
	r := f.cfg.Ledger.Get(l.Key)
	if !r.Known() { // from before there were versions it is what Harbor says
		return !last.IsZero() && l.pushed.After(last)
	}
	at := f.cfg.Ledger.ChangedAt(l.Repo, r)
	return l.pushed.After(at) && l.artifact.After(at) && !f.cfg.Ledger.Had(l.Key, l.digest) && !f.cfg.Ledger.Gone(l.Repo, l.digest)
}

// owns reports whether no replication puts tags into the repo's project.
func (f *Follower) owns(repo string) bool {
	project, _, _ := strings.Cut(repo, "/")
	return f.cfg.OwnsTags != nil && f.cfg.OwnsTags(project)
}

// compare has Harbor set right where what it has under a tag is no news.
func (f *Follower) compare(ctx context.Context, l listed, last time.Time) {
	r := f.cfg.Ledger.Get(l.Key)
	switch {
	case r.Known() && r.Digest == l.digest && !f.cfg.Ledger.Deleted(l.Repo, r):
	case f.isNews(l, last):
		if err := f.cfg.Adopt(ctx, l.Key, l.digest); err != nil {
			f.cfg.Log.Warn("a push past the edges is not told to the other datacenters yet", "repo", l.Repo, "tag", l.Reference, "err", err.Error())
		}
	case r.Known():
		f.Lagging(l.Key, l.digest)
	}
}

// artifact is a manifest as Harbor's API has it.
type artifact struct {
	Digest string
	Pushed time.Time `json:"push_time"`
	Tags   []struct {
		Name   string
		Pushed time.Time `json:"push_time"`
	}
	Parts []part `json:"references"` // of an index
}

// part is what an index names.
type part struct {
	Digest digest.Digest `json:"child_digest"`
}

// tag asks for the times of a tag and its manifest; zero times where Harbor does not say.
func (f *Follower) tag(ctx context.Context, key version.Key, d digest.Digest) (listed, error) {
	l := listed{Key: key, digest: d}
	a, err := f.artifact(ctx, key.Repo, d.String())
	if err != nil {
		return l, err
	}
	l.artifact = f.Here(a.Pushed)
	for _, tag := range a.Tags {
		if tag.Name == key.Reference {
			l.pushed = f.Here(tag.Pushed)
		}
	}
	return l, nil
}

// Tags returns the digest of an artifact and its tags.
func (f *Follower) Tags(ctx context.Context, repo, reference string) (d digest.Digest, tags []string, err error) {
	a, err := f.artifact(ctx, repo, reference)
	if err != nil {
		return "", nil, err
	}
	for _, tag := range a.Tags {
		if registry.ValidTag(tag.Name) {
			tags = append(tags, tag.Name)
		}
	}
	d, err = registry.ParseDigest(a.Digest)
	return d, tags, err
}

// Digests returns all artifacts of a repo, as far as Harbor says.
func (f *Follower) Digests(ctx context.Context, repo string) (all []digest.Digest) {
	err := pages(ctx, f, registry.ArtifactsPath(repo), nil, func(a artifact) error {
		if d, err := registry.ParseDigest(a.Digest); err == nil {
			all = append(all, d)
		}
		return nil
	})
	if err != nil {
		f.cfg.Log.Warn("what a repo holds cannot be listed", "repo", repo, "err", err.Error())
	}
	return all
}

// NamedBy returns the deleted indexes that name a manifest in Harbor, where they are there
// again or not yet deleted. It returns none where one does that nobody has deleted, or where
// Harbor does not say.
func (f *Follower) NamedBy(ctx context.Context, repo string, d digest.Digest) (gone []digest.Digest) {
	err := pages(ctx, f, registry.ArtifactsPath(repo), nil, func(a artifact) error {
		parent, err := registry.ParseDigest(a.Digest)
		if err != nil || slices.Contains(gone, parent) || !slices.ContainsFunc(a.Parts, func(p part) bool { return p.Digest == d }) {
			return nil
		}
		if !f.cfg.Ledger.Gone(repo, parent) {
			return errNamed
		}
		gone = append(gone, parent)
		return nil
	})
	if err != nil {
		return nil
	}
	return gone
}

// errNamed ends a look for what names a manifest.
var errNamed = errors.New("an index that is not deleted names it")

// listedDigest asks Harbor's API for the digest that is under a reference.
func (f *Follower) listedDigest(ctx context.Context, repo, reference string) (digest.Digest, error) {
	a, err := f.artifact(ctx, repo, reference)
	if err != nil {
		return "", err
	}
	return registry.ParseDigest(a.Digest)
}

// peek asks for what lies below /v2/ by HEAD and, where that may be refused for the method, by
// GET: what stands before a Harbor may not know HEAD. The answer's body is still to be closed.
func (f *Follower) peek(ctx context.Context, path string) (*http.Response, error) {
	resp, err := f.call(ctx, registry.Call{Method: http.MethodHead, Path: path})
	if err != nil {
		return nil, err
	}
	answered := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusNotFound && registry.IsJSON(resp)
	if answered || source.FailsAll(resp.StatusCode) {
		return resp, nil
	}
	resp.Body.Close()
	return f.call(ctx, registry.Call{Method: http.MethodGet, Path: path})
}

// artifact asks for one, with its tags (GET /api/v2.0/projects/{project}/repositories/
// {repository}/artifacts/{reference}).
func (f *Follower) artifact(ctx context.Context, repo, reference string) (a artifact, err error) {
	resp, err := f.call(ctx, registry.Call{Method: http.MethodGet, Path: registry.ArtifactsPath(repo) + "/" + reference, Query: url.Values{"with_tag": {"true"}}})
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("the answer of Harbor is %s for what is at %s", resp.Status, reference)
	}
	return a, json.NewDecoder(io.LimitReader(resp.Body, maxListPage)).Decode(&a)
}

// look lists all tags of a project (GET /api/v2.0/projects/{project}/repositories, and
// …/artifacts of each).
func (f *Follower) look(ctx context.Context, project string, do func(listed)) error {
	base := "/api/v2.0/projects/" + project + "/repositories"
	return pages(ctx, f, base, nil, func(repo struct{ Name string }) error {
		if !strings.HasPrefix(repo.Name, project+"/") || !registry.ValidRepo(repo.Name) {
			return nil
		}
		return pages(ctx, f, registry.ArtifactsPath(repo.Name), url.Values{"with_tag": {"true"}}, func(a artifact) error {
			d, err := registry.ParseDigest(a.Digest)
			if err != nil {
				return nil
			}
			for _, tag := range a.Tags {
				if registry.ValidTag(tag.Name) {
					do(listed{version.Key{Repo: repo.Name, Reference: tag.Name}, d, f.Here(tag.Pushed), f.Here(a.Pushed)})
				}
			}
			return nil
		})
	})
}

// pages reads a list of Harbor's API to its end, a little at a time.
func pages[T any](ctx context.Context, f *Follower, path string, query url.Values, do func(T) error) error {
	for page := 1; page <= listPages; page++ {
		if !pause(ctx, f.cfg.Pace/listPause) {
			return ctx.Err()
		}
		all, err := onePage[T](ctx, f, path, page, query)
		if err != nil {
			return err
		}
		for _, entry := range all {
			if err := do(entry); err != nil {
				return err
			}
		}
		if len(all) < listPage {
			return nil
		}
	}
	return nil
}

func onePage[T any](ctx context.Context, f *Follower, path string, page int, query url.Values) (all []T, err error) {
	q := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(listPage)}}
	for key, values := range query {
		q[key] = values
	}
	resp, err := f.call(ctx, registry.Call{Method: http.MethodGet, Path: path, Query: q})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound { // it went meanwhile
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer of Harbor is %s for %s", resp.Status, path)
	}
	return all, json.NewDecoder(io.LimitReader(resp.Body, maxListPage)).Decode(&all)
}
