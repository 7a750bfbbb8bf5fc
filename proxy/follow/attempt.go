package follow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// result is how a look at Harbor went.
type result int

const (
	asItShould result = iota // Harbor has the newest version
	later                    // it has not, or did not answer: to be tried again
	abandoned                // Harbor refuses, or something puts it back time and again
	ended                    // there is nothing to follow any more
)

// refusal is Harbor's answer to a write that no second try will change.
type refusal struct{ err *registry.Error }

// Error implements error.
func (r *refusal) Error() string { return r.err.Error() }

// attempt makes Harbor have the newest version of one reference.
func (f *Follower) attempt(ctx context.Context, key version.Key, t *task) result {
	r := f.cfg.Ledger.Get(key)
	switch {
	case !r.Known():
		return ended
	case r.Version != t.version: // it has a task of its own, or will, unless this began as it changed
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.tasks[key] == t {
			t.version, t.deleted = r.Version, r.Deleted()
		}
		return later
	case f.cfg.Ledger.Claimed(key):
		return later
	}
	reference := key.Reference
	if !key.IsTag() {
		reference = key.Digest().String()
	}
	has, err := f.Has(ctx, key.Repo, reference)
	if err == nil {
		switch {
		case f.isDeleted(key, r):
			if has == "" {
				t.strange = ""
				return asItShould
			}
			if f.cfg.Pushing(key.Repo, has) || !f.isDeleted(key, f.cfg.Ledger.Get(key)) { // Harbor has a push that has no version yet
				return later
			}
			err = f.remove(ctx, key, r, has, t)
		case !key.IsTag(): // it was pushed again
			return ended
		case has == "" && !f.cfg.Keeps(key.Repo) && !f.owes(r, t):
			return ended
		case has == "" && t.retained:
			return asItShould
		case has != r.Digest:
			err = f.restore(ctx, key, r, has, t)
		case t.publish:
			err = f.publish(ctx, key.Repo, r)
			t.publish = t.publish && err != nil
		default:
			return asItShould
		}
	}
	var refused *refusal
	switch {
	case errors.Is(err, errGone):
		f.cfg.Ledger.Retire(key, r.Version)
		return ended
	case errors.Is(err, errPutBack):
		f.cfg.Log.Error("Harbor's tag is put back time and again; it is left alone until the next push. Look for a replication that writes tags of this project",
			"repo", key.Repo, "tag", key.Reference, "newest", r.Digest.String(), "harbor_has", has.String())
		return abandoned
	case errors.As(err, &refused):
		f.cfg.Log.Error("Harbor refuses the newest version of a tag; it is left alone until the next push",
			"repo", key.Repo, "tag", key.Reference, "newest", r.Digest.String(), "harbor_has", has.String(), "refusal", refused.err.Message, "status", refused.err.Status)
		return abandoned
	case err != nil:
		if t.tries == 3 { // once: a Harbor that is away is the breaker's to say
			f.cfg.Log.Warn("Harbor cannot be given the newest version of a tag yet", "repo", key.Repo, "tag", key.Reference, "err", err.Error())
		}
		return later
	case t.put:
		return later // whether it stays is seen at the next look
	}
	return asItShould
}

// owes reports whether Harbor, which is not to hold the project, has lost what was pushed here a
// short while ago: those that are may not have it yet.
func (f *Follower) owes(r version.Record, t *task) bool {
	return !t.retained && r.Version.Datacenter == f.cfg.Ledger.Datacenter() && r.Age(f.cfg.Now()) < f.cfg.Settled
}

// isDeleted reports whether what the record is of is deleted, and was not pushed again.
func (f *Follower) isDeleted(key version.Key, r version.Record) bool {
	if key.IsTag() {
		return f.cfg.Ledger.Deleted(key.Repo, r)
	}
	return f.cfg.Ledger.Gone(key.Repo, key.Digest())
}

var (
	errGone    = errors.New("no Harbor of the fleet has it any more")
	errPutBack = errors.New("something else owns the tag")
	errWaiting = errors.New("its content, or word of what Harbor has, may still come")
)

// Has returns the digest that Harbor has under a reference; "": none.
func (f *Follower) Has(ctx context.Context, repo, reference string) (digest.Digest, error) {
	resp, err := f.peek(ctx, "/v2/"+repo+"/manifests/"+reference)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPreconditionFailed: // Harbor's policy forbids to pull it: it is there
		if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d.Validate() == nil {
			return d, nil
		}
		return f.listedDigest(ctx, repo, reference)
	case http.StatusNotFound:
		if registry.IsJSON(resp) {
			return "", nil
		}
	}
	return "", fmt.Errorf("the answer of Harbor is %s for %s", resp.Status, reference)
}

// restore gives Harbor the newest version of a tag.
func (f *Follower) restore(ctx context.Context, key version.Key, r version.Record, has digest.Digest, t *task) error {
	switch {
	case f.cfg.Accepts(key, has):
		return nil
	case t.restored >= maxRestored:
		return errPutBack
	case has != "" && !f.cfg.Ledger.Had(key, has):
		if adopted, err := f.meet(ctx, key, has, t); adopted || err != nil {
			return err
		}
	}
	if has == "" && r.Age(f.cfg.Now()) > f.cfg.Settled {
		elsewhere, err := f.cfg.Elsewhere(ctx, key.Repo, r.Digest)
		if err != nil {
			return err
		}
		if !elsewhere {
			return errGone
		}
	}
	from, to := f.cfg.Content(key.Repo), f.to(key.Repo)
	there, err := to.HasManifest(ctx, r.Digest)
	if err != nil {
		return err
	}
	body, err := manifest(ctx, from, r.Digest)
	if err != nil {
		return err
	}
	if !there {
		if r.Version.Datacenter != f.cfg.Ledger.Datacenter() && t.tries < patience {
			return errWaiting
		}
		select {
		case f.content <- struct{}{}:
		default:
			return errWaiting // large layers do not hold up tags
		}
		err := errWaiting
		if f.counts(ctx, key, r, t) {
			err = carry.Parts(ctx, from, to, body)
		}
		<-f.content
		if err != nil {
			return err
		}
	}
	if !f.counts(ctx, key, r, t) { // that took a while
		return errWaiting
	}
	if err := carry.Manifest(ctx, to, key.Reference, r.MediaType, body); err != nil {
		return err
	}
	if lost := has == "" && (t.put || t.settled || r.Version.Datacenter == f.cfg.Ledger.Datacenter()); lost && f.tookBack(ctx, key, r) {
		return errWaiting
	}
	if t.put || t.settled {
		t.restored++
	}
	f.metrics.restored.WithLabelValues(map[bool]string{true: "restored", false: "brought"}[t.put || has != ""]).Inc()
	f.cfg.Log.Info("Harbor was given the newest version of a tag", "repo", key.Repo, "tag", key.Reference, "newest", r.Digest.String(), "harbor_had", has.String(), "version", r.Version.String())
	t.put = true
	return nil
}

// remove deletes from Harbor what was deleted elsewhere. What Harbor has again, or has and nobody
// knows, may have been pushed past the edges since: it is met as it is where nothing is deleted.
func (f *Follower) remove(ctx context.Context, key version.Key, r version.Record, has digest.Digest, t *task) error {
	known := !key.IsTag() || has == r.Digest || f.cfg.Ledger.Had(key, has) || f.cfg.Ledger.Gone(key.Repo, has)
	switch {
	case known && !t.had:
	case f.cfg.Accepts(key, has):
		return nil
	default:
		if adopted, err := f.meet(ctx, key, has, t); adopted || err != nil {
			return err
		}
	}
	return f.delete(ctx, key, has, t)
}

// counts reports whether a task is still to be done and its record the newest: what Harbor
// lacks may be of a project that is gone, or have been removed by its retention.
func (f *Follower) counts(ctx context.Context, key version.Key, r version.Record, t *task) bool {
	if f.cfg.Look != nil && !f.cfg.Look(ctx, key.Repo) {
		return false
	}
	newest := f.cfg.Ledger.Get(key).Version == r.Version
	f.mu.Lock()
	defer f.mu.Unlock()
	return newest && f.tasks[key] == t
}

// tookBack looks once more at the project of a tag that Harbor had lost and was given back: one
// that was deleted and made again between the look before and the write has the old one's tag now,
// and it is deleted there. Whatever else is there by then stays.
func (f *Follower) tookBack(ctx context.Context, key version.Key, r version.Record) bool {
	if f.cfg.Look == nil || !f.cfg.Look(ctx, key.Repo) || f.cfg.Ledger.Get(key).Version != (version.Version{}) {
		return false
	}
	has, err := f.Has(ctx, key.Repo, key.Reference)
	if err == nil && has == r.Digest {
		err = f.delete(ctx, key, has, &task{})
	}
	if err != nil {
		f.cfg.Log.Warn("a tag of a project that is gone was given to the one that was made in its place", "repo", key.Repo, "tag", key.Reference, "err", err.Error())
	}
	return true
}

// meet waits for a while when Harbor has a digest under the tag that nobody knows: it may
// have been pushed past the edges, and Harbor's webhook is on its way. Where no
// replication puts tags, Harbor's own times say whether that is so.
func (f *Follower) meet(ctx context.Context, key version.Key, has digest.Digest, t *task) (adopted bool, err error) {
	now := time.Now()
	if t.strange != has {
		t.strange, t.since = has, now
	}
	if now.Sub(t.since) < strangeFor*f.cfg.Pace || !f.cfg.Complete() && now.Sub(t.since) < aloneFor*f.cfg.Pace {
		return false, errWaiting
	}
	if !f.owns(key.Repo) {
		return false, nil
	}
	l, err := f.tag(ctx, key, has)
	if err != nil || !f.isNews(l, time.Time{}) {
		return false, err
	}
	return true, f.cfg.Adopt(ctx, key, has)
}

// publish writes what was pushed by a tag by its digest too: a replication that carries
// content alone takes it to the other datacenters' Harbors. It changes nothing here.
func (f *Follower) publish(ctx context.Context, repo string, r version.Record) error {
	body, err := f.cfg.Content(repo).Manifest(ctx, r.Digest)
	if body == nil || err != nil {
		return err
	}
	return carry.Manifest(ctx, f.to(repo), r.Digest.String(), r.MediaType, body)
}

// delete deletes from Harbor what was deleted elsewhere: a tag (DELETE
// /api/v2.0/projects/{project}/repositories/{repository}/artifacts/{reference}/tags/{tag}) or
// an artifact.
func (f *Follower) delete(ctx context.Context, key version.Key, has digest.Digest, t *task) error {
	if t.restored >= maxRestored {
		return errPutBack
	}
	path := registry.ArtifactsPath(key.Repo) + "/" + has.String()
	if key.IsTag() {
		path += "/tags/" + key.Reference
	}
	resp, err := f.call(ctx, registry.Call{Method: http.MethodDelete, Path: path})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		if resp.StatusCode == http.StatusPreconditionFailed && !key.IsTag() && f.unname(ctx, key.Repo, has) {
			resp.Body.Close()
			return errWaiting
		}
		return refused(resp)
	}
	resp.Body.Close()
	if t.put {
		t.restored++
	}
	t.put = true
	f.metrics.restored.WithLabelValues("deleted").Inc()
	f.cfg.Log.Info("deleted from Harbor what was deleted elsewhere", "repo", key.Repo, "reference", key.Reference, "harbor_had", has.String())
	return nil
}

// unname deletes from Harbor what names a digest, was deleted before, and is there again: a
// replication has brought it back. It reports whether that is all that names it.
func (f *Follower) unname(ctx context.Context, repo string, d digest.Digest) bool {
	gone := f.NamedBy(ctx, repo, d)
	for _, parent := range gone {
		if err := f.delete(ctx, version.Buried(repo, parent), parent, &task{}); err != nil {
			f.cfg.Log.Info("what was deleted is there again, and stays for now", "repo", repo, "digest", parent.String(), "err", err.Error())
		}
	}
	return len(gone) > 0
}

// to is a repo of the local Harbor.
func (f *Follower) to(repo string) carry.To {
	return carry.To{
		Repo: repo,
		HasManifest: func(ctx context.Context, d digest.Digest) (bool, error) {
			has, err := f.Has(ctx, repo, d.String())
			return has != "", err
		},
		HasBlob: func(ctx context.Context, d digest.Digest) (bool, error) {
			resp, err := f.peek(ctx, "/v2/"+repo+"/blobs/"+d.String())
			if err != nil {
				return false, err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
				return false, fmt.Errorf("the answer of Harbor is %s for a blob", resp.Status)
			}
			return resp.StatusCode == http.StatusOK, nil
		},
		Send: func(ctx context.Context, r carry.Request) (string, error) {
			resp, err := f.call(ctx, registry.Call{Method: r.Method, Path: r.Path, ContentType: r.ContentType, Body: r.Body, Size: r.Size})
			if err != nil {
				return "", err
			}
			if resp.StatusCode != r.Want {
				return "", refused(resp)
			}
			resp.Body.Close()
			return resp.Header.Get("Location"), nil
		},
	}
}

// refused is the error for Harbor's refusal of a write. Quota, immutable tags and missing
// rights are final; a server error, a limiter, or a part that is missing are not, nor is
// the 401 without a challenge of a Harbor whose database is down.
func refused(resp *http.Response) error {
	status := resp.StatusCode
	if status == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != "" {
		status = http.StatusForbidden
	}
	e := registry.ReadError(resp)
	switch status {
	case http.StatusForbidden, http.StatusPreconditionFailed, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge:
		return &refusal{e}
	}
	return fmt.Errorf("the answer of Harbor is %d: %s", status, e.Message)
}

// call asks Harbor with the edge's own credentials. Nobody waits for it: a Harbor that is
// slow is waited for as by who reads.
func (f *Follower) call(ctx context.Context, c registry.Call) (*http.Response, error) {
	asking, answered := source.NewVigil(callDeadline).Over(ctx, source.Step{Source: f.cfg.Harbor})
	begun := f.cfg.Now()
	resp, err := f.cfg.Harbor.Registry.Call(asking, c)
	answered(err)
	if err != nil {
		if ctx.Err() == nil {
			f.cfg.Harbor.Suspect()
		}
		return nil, err
	}
	f.readClock(resp, begun)
	return resp, nil
}

// callDeadline is when it is looked whether Harbor lives.
const callDeadline = 15 * time.Second
