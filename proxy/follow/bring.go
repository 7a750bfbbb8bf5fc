package follow

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// Bring gives Harbor, under its digest, a manifest of the repo that was pushed elsewhere, with
// all that it names, because a client waits who writes of it. body is the manifest where the
// client has sent it: its parts alone are elsewhere then. What no tag of the repo is known to be,
// or was, is not brought, unless Harbor is not to hold the repo: there the others know. The error
// is an outcome: a no where it is not to be brought, or nobody has it.
func (f *Follower) Bring(ctx context.Context, repo string, d digest.Digest, body []byte) error {
	if !f.pushed(repo, d) {
		return errNobodys
	}
	if f.cfg.Look != nil && !f.cfg.Look(ctx, repo) {
		return outcome.DontKnow(errors.New("the local Harbor does not say which project it has"))
	}
	select {
	case f.content <- struct{}{}:
		defer func() { <-f.content }()
	case <-ctx.Done():
		return outcome.DontKnow(ctx.Err())
	}
	err := f.bring(ctx, repo, d, body)
	if err == nil {
		return nil
	}
	f.cfg.Log.Warn("Harbor lacks what a client writes of, and it cannot be brought", "repo", repo, "digest", d.String(), "err", err.Error())
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused.err
	case outcome.IsNo(err):
		return err
	}
	return outcome.DontKnow(err)
}

// errNobodys is why nothing is brought that nobody is known to have pushed.
var errNobodys = registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest")

// pushed reports whether a tag of the repo is known to be the digest, or to have been, or may
// be so elsewhere, and it is not deleted.
func (f *Follower) pushed(repo string, d digest.Digest) bool {
	if f.cfg.Ledger.Gone(repo, d) {
		return false
	}
	if !f.cfg.Keeps(repo) {
		return true
	}
	for tag, r := range f.cfg.Ledger.Tags(repo) {
		if r.Digest == d || !r.Deleted() && f.cfg.Ledger.Had(version.Key{Repo: repo, Reference: tag}, d) {
			return true
		}
	}
	return false
}

func (f *Follower) bring(ctx context.Context, repo string, d digest.Digest, body []byte) (err error) {
	from, to := f.cfg.Content(repo), f.to(repo)
	sent := body != nil // its client puts it
	if !sent {
		if body, err = manifest(ctx, from, d); err != nil {
			return err
		}
	}
	if err := carry.Parts(ctx, from, to, body); err != nil || sent {
		return err
	}
	return carry.Manifest(ctx, to, d.String(), "", body)
}

// manifest is what a source has under the digest; that it has nothing is an error.
func manifest(ctx context.Context, from carry.From, d digest.Digest) ([]byte, error) {
	body, err := from.Manifest(ctx, d)
	if err == nil && body == nil {
		err = errNobodys
	}
	return body, err
}
