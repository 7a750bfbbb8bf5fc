package fetch

import (
	"context"
	"net/http"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// lookEvery is how often the upstream itself is asked for a tag of a cache that keeps what
// is deleted there: a Harbor that keeps it too says nothing of the delete.
const lookEvery = time.Hour

// Kept is Manifest of a cache, whose upstream may have deleted what is remembered: that
// outlives it as the Namespace says (Keep), and the Entry says since when it does.
func (f *Fetcher) Kept(ctx context.Context, q Question, old tags.Entry) (tags.Found, error) {
	found, err := f.Manifest(ctx, q, old)
	switch {
	case q.Namespace.Keep == 0:
		found.Entry.Gone = time.Time{}
	case q.Only != "" && err != nil: // one peer's no is not its upstream's
	case outcome.IsDeleted(err) && old.Digest != "":
		return f.outlive(ctx, q, old, err)
	case outcome.IsDeleted(err) && !q.OwnOnly:
		return f.keptElsewhere(ctx, q, err)
	case err != nil:
	case q.OwnOnly: // its upstream is not asked for a peer
		found.Entry.Gone = old.Gone
	case old.Digest != "" && found.Entry.Digest == old.Digest:
		return f.look(ctx, q, old, found)
	default:
		found.Entry.Looked = f.Now()
	}
	return found, err
}

// nearest is how many peers are asked whether they have kept what is not held here.
const nearest = 3

// keptElsewhere asks the nearest peers for what the upstream, as no says, does not have.
func (f *Fetcher) keptElsewhere(ctx context.Context, q Question, no error) (tags.Found, error) {
	peers := q.Route(f.Routes)[1:]
	if last := len(peers) - 1; last >= 0 && peers[last].Kind != source.Peer {
		peers = peers[:last]
	}
	if len(peers) == 0 {
		return tags.Found{}, no
	}
	question := source.Question{Namespace: q.Namespace, Route: peers[:min(nearest, len(peers))], Tag: q.Request.Tag != "", Deadline: f.Deadline}
	found, err := f.askAll(q.InTrace(ctx), question, q, tags.Entry{})
	if err != nil || found.Entry.Gone.IsZero() || found.Entry.Outlived(q.Namespace.Keep, f.Now()) {
		return tags.Found{}, no
	}
	return found, nil
}

// goneAt is since when a peer says that the upstream has deleted what it gives.
func goneAt(s source.Step, resp *http.Response) (since time.Time) {
	if s.Kind == source.Peer {
		since, _ = time.Parse(time.RFC3339, resp.Header.Get(peer.DeletedHeader)) // zero where it says nothing
	}
	return since
}

// look asks the upstream itself, now and then, for a tag that somebody else has as before.
func (f *Fetcher) look(ctx context.Context, q Question, old tags.Entry, found tags.Found) (tags.Found, error) {
	e, now, upstream := &found.Entry, f.Now(), f.Routes.Upstream(q.Namespace.Project)
	e.Gone, e.Looked = old.Gone, old.Looked
	if e.Looked.IsZero() && e.Gone.IsZero() {
		e.Looked = f.started // not all at once then
	}
	switch {
	case q.Request.Tag == "" || upstream == nil || e.Source == upstream.Name: // a digest that somebody has is no copy
		e.Gone = time.Time{}
	case now.Sub(e.Looked) >= lookEvery:
		e.Looked = now
		switch err := f.atUpstream(ctx, q, upstream); {
		case err == nil:
			e.Gone = time.Time{}
		case outcome.IsDeleted(err) && e.Gone.IsZero():
			e.Gone = now
		}
	}
	if e.Outlived(q.Namespace.Keep, now) {
		no := registry.Errorf(registry.CodeManifestUnknown, "its upstream has deleted it")
		no.Cause = outcome.ErrOutlived
		return tags.Found{}, no
	}
	return found, nil
}

// atUpstream asks the upstream of a cache itself whether it has a manifest. The error is an
// outcome.
func (f *Fetcher) atUpstream(ctx context.Context, q Question, upstream *source.Source) error {
	s := source.Step{Source: upstream, Repo: q.Namespace.Image(q.Request.Repo), Namespace: q.Namespace}
	if !s.Usable() {
		return outcome.DontKnow(source.ErrDown)
	}
	_, err := f.tagAt(ctx, q, s)
	return err
}

// outlive is what is served of what the upstream has deleted, which no is: the copy, for as
// long as it is kept, from whoever has it.
func (f *Fetcher) outlive(ctx context.Context, q Question, old tags.Entry, no error) (tags.Found, error) {
	found := tags.Found{Entry: old}
	if found.Entry.Looked = (time.Time{}); old.Gone.IsZero() { // who has it again is not believed at once
		found.Entry.Gone = f.Now()
	}
	switch {
	case found.Entry.Outlived(q.Namespace.Keep, f.Now()):
		return tags.Found{}, no
	case f.Holds(old.Digest):
		return found, nil
	case q.Request.Digest == "":
		if again, err := f.Manifest(ctx, q.By(old.Digest), tags.Entry{}); err == nil {
			found.Body = again.Body
			return found, nil
		}
	}
	return f.keptElsewhere(ctx, q, no)
}

// KeptTags are the tags of a repo that its upstream has deleted, and that are held and served
// all the same.
func (f *Fetcher) KeptTags(known *tags.Cache, repo string, keep time.Duration) (all []string) {
	for _, reference := range known.Gone(repo, keep) {
		e, _, _ := known.Get(tags.Key{Repo: repo, Reference: reference}, 0)
		if registry.ValidTag(reference) && f.Holds(e.Digest) {
			all = append(all, reference)
		}
	}
	return all
}
