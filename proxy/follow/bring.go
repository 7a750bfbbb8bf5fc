package follow

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
	"example.org/breakwater/proxy/version"
)

// Bring gives Harbor, under its digest, a manifest of the repo that was pushed elsewhere, with
// all that it names, because a client waits who writes of it. It reports whether Harbor has it
// now. What no tag of the repo is known to be, or was, is not brought.
func (f *Follower) Bring(ctx context.Context, repo string, d digest.Digest) bool {
	if f.cfg.Look != nil && !f.cfg.Look(ctx, repo) || !f.pushed(repo, d) {
		return false
	}
	select {
	case f.content <- struct{}{}:
		defer func() { <-f.content }()
	case <-ctx.Done():
		return false
	}
	err := f.bring(ctx, repo, d)
	if err != nil {
		f.cfg.Log.Warn("Harbor lacks what a client writes of, and it cannot be brought", "repo", repo, "digest", d.String(), "err", err.Error())
	}
	return err == nil
}

// pushed reports whether a tag of the repo is known to be the digest, or to have been, and it
// is not deleted.
func (f *Follower) pushed(repo string, d digest.Digest) bool {
	if f.cfg.Ledger.Gone(repo, d) {
		return false
	}
	for tag, r := range f.cfg.Ledger.Tags(repo) {
		if r.Digest == d || !r.Deleted() && f.cfg.Ledger.Had(version.Key{Repo: repo, Reference: tag}, d) {
			return true
		}
	}
	return false
}

func (f *Follower) bring(ctx context.Context, repo string, d digest.Digest) error {
	from, to := f.cfg.Content(repo), f.to(repo)
	body, err := manifest(ctx, from, d)
	if err != nil {
		return err
	}
	if err := carry.Parts(ctx, from, to, body); err != nil {
		return err
	}
	return carry.Manifest(ctx, to, d.String(), "", body)
}

// manifest is what a source has under the digest; that it has nothing is an error.
func manifest(ctx context.Context, from carry.From, d digest.Digest) ([]byte, error) {
	body, err := from.Manifest(ctx, d)
	if err == nil && body == nil {
		err = errors.New("its manifest is not to be had")
	}
	return body, err
}
