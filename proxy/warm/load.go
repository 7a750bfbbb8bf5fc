package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// load is one try to bring one image.
type load struct {
	w     *Warmer
	j     *job
	moved func() // something has come

	only  string // the datacenter whose edge gives it; "": its sources do
	seen  map[digest.Digest]bool
	heads []digest.Digest // the manifests of the image itself, which may be signed
	blobs []descriptor    // that are to be brought
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    *struct {
		OS, Architecture, Variant string
	} `json:"platform"`
}

const (
	maxManifests = 256 // of one image
	maxBlobs     = 4096
	maxDepth     = 3   // of indexes in indexes
	yieldFor     = 600 // times Pace, that clients' fills go before one blob
)

var (
	errPlatforms = errors.New("it is there for none of the platforms")
	errTooMuch   = errors.New("it has more manifests or blobs than an image may")
)

// bring brings the image: its manifests, then its blobs, then what signs it. From another edge
// that has it, signs is what that has found.
func (l *load) bring(ctx context.Context, only string, signs []string) error {
	l.only, l.seen, l.heads, l.blobs = only, map[digest.Digest]bool{}, nil, nil
	l.note(func(j *job) {
		j.from, j.note, j.signs = only, "", signs
		j.manifests, j.manifestsHere, j.bytes, j.bytesHere = 1, 0, 0, 0
	})
	if err := l.tree(ctx, l.j.image.Reference, l.j.image.Platforms, 0); err != nil {
		return err
	}
	l.heads = l.heads[:min(len(l.heads), maxManifests)]
	if err := l.bodies(ctx); err != nil {
		return err
	}
	if only == "" {
		signs = l.findSigns(ctx)
		l.note(func(j *job) { j.signs = signs })
	}
	heads := l.heads
	for _, reference := range signs {
		if err := l.tree(ctx, reference, nil, 1); err != nil {
			l.leftOut(err)
		}
	}
	l.heads = heads
	if err := l.bodies(ctx); err != nil {
		return fmt.Errorf("what signs it: %w", err)
	}
	return nil
}

// note changes the job.
func (l *load) note(change func(*job)) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	change(l.j)
}

// leftOut notes what of the signatures could not be had: the image is warmed all the same.
func (l *load) leftOut(err error) {
	l.note(func(j *job) { j.note = "signatures may lack: " + err.Error() })
}

// tree brings a manifest and, of an index, those of the platforms; it notes their blobs.
func (l *load) tree(ctx context.Context, reference string, platforms []string, depth int) error {
	d, body, err := l.manifest(ctx, reference, depth)
	if err != nil || l.seen[d] {
		return err
	}
	if l.seen[d] = true; len(l.seen) > maxManifests {
		return errTooMuch
	}
	l.heads = append(l.heads, d)
	l.note(func(j *job) { j.manifests, j.manifestsHere = max(j.manifests, len(l.seen)), len(l.seen) })
	l.moves(0)
	var inside struct {
		Config    *descriptor                `json:"config"`
		Layers    []descriptor               `json:"layers"`
		Blobs     []descriptor               `json:"blobs"`    // of an artifact manifest
		FSLayers  []struct{ BlobSum string } `json:"fsLayers"` // of schema 1
		Manifests []descriptor               `json:"manifests"`
	}
	if err := json.Unmarshal(body, &inside); err != nil {
		return fmt.Errorf("its manifest cannot be read: %w", err)
	}
	blobs := slices.Concat(inside.Layers, inside.Blobs)
	if inside.Config != nil {
		blobs = append(blobs, *inside.Config)
	}
	for _, layer := range inside.FSLayers {
		blobs = append(blobs, descriptor{Digest: layer.BlobSum})
	}
	l.want(blobs)
	children := chosen(inside.Manifests, platforms)
	if len(inside.Manifests) > 0 && len(children) == 0 {
		return errPlatforms
	}
	l.note(func(j *job) { j.manifests += len(children) })
	if depth >= maxDepth || len(children) > maxManifests || len(l.blobs) > maxBlobs {
		return errTooMuch
	}
	for _, child := range children {
		if _, err := registry.ParseDigest(child.Digest); err != nil {
			return err
		}
		if err := l.tree(ctx, child.Digest, nil, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// manifest returns a manifest. One that belongs to another is not asked for again.
func (l *load) manifest(ctx context.Context, reference string, depth int) (digest.Digest, []byte, error) {
	f, repo := l.w.cfg.Fetch, l.j.image.Repo
	if d, err := registry.ParseDigest(reference); err == nil && depth > 0 && f.Store.Has(d) && f.Access.Member(repo, d) {
		if body, err := f.Read(d); err == nil {
			return d, body, nil
		}
	}
	e, body, err := l.w.cfg.Resolve(ctx, l.w.question(registry.KindManifest, repo, reference, l.only), l.anew(reference) && (depth == 0 || l.only != ""))
	return e.Digest, body, err
}

// anew reports whether a reference is asked for though what is remembered is fresh: somebody says
// that the tag may have moved. The schedules alone have no reason to think so.
func (l *load) anew(reference string) bool {
	return l.j.kind != Clock && registry.ValidTag(reference)
}

// chosen are the manifests of an index that are for the platforms, and the attestations of those.
func chosen(all []descriptor, platforms []string) (some []descriptor) {
	if len(platforms) == 0 {
		return all
	}
	of := map[string]bool{}
	for _, m := range all {
		if m.Platform != nil && slices.ContainsFunc(platforms, m.isFor) {
			some, of[m.Digest] = append(some, m), true
		}
	}
	for _, m := range all {
		if about := m.Annotations["vnd.docker.reference.digest"]; about != "" && of[about] && !of[m.Digest] {
			some = append(some, m)
		}
	}
	return some
}

// isFor reports whether it is for a platform. One without a variant is all variants.
func (d descriptor) isFor(platform string) bool {
	is := d.Platform.OS + "/" + d.Platform.Architecture
	return platform == is || platform == is+"/"+d.Platform.Variant
}

// want notes blobs that are to be brought, each once.
func (l *load) want(blobs []descriptor) {
	for _, b := range blobs {
		d, err := registry.ParseDigest(b.Digest)
		if err != nil || len(b.URLs) > 0 || l.seen[d] { // a layer with addresses is nobody's here
			continue
		}
		if l.blobs = append(l.blobs, b); l.w.lacks(l.j.image.Repo, d) && b.Size > 0 {
			l.note(func(j *job) { j.bytes += b.Size })
		}
	}
}

// lacks reports whether a blob is not in the store, or not known to be the repo's.
func (w *Warmer) lacks(repo string, d digest.Digest) bool {
	return !w.cfg.Fetch.Store.Has(d) || !w.cfg.Fetch.Access.Member(repo, d)
}

// bodies brings the blobs that were noted.
func (l *load) bodies(ctx context.Context) error {
	blobs := l.blobs
	l.blobs = nil
	for _, b := range blobs {
		d := digest.Digest(b.Digest)
		if l.seen[d] || !l.w.lacks(l.j.image.Repo, d) {
			continue
		}
		l.seen[d] = true
		if err := l.yield(ctx); err != nil {
			return err
		}
		if err := l.body(ctx, d); err != nil {
			return fmt.Errorf("blob %s: %w", d, err)
		}
	}
	return nil
}

// yield waits while clients wait for many fills.
func (l *load) yield(ctx context.Context) error {
	for range yieldFor {
		if l.w.cfg.Fetch.Store.Filling() <= maxReads {
			break
		}
		l.moved() // it is not the image that is slow
		if err := l.w.pause(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pause waits for a Pace.
func (w *Warmer) pause(ctx context.Context) error {
	timer := time.NewTimer(w.cfg.Pace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

var errNotKept = errors.New("the store did not keep it")

// body brings one blob.
func (l *load) body(ctx context.Context, d digest.Digest) error {
	defer l.watch(ctx, d)()
	r, err := l.w.cfg.Fetch.Spare(ctx, l.w.question(registry.KindBlob, l.j.image.Repo, d.String(), l.only))
	if err != nil || r == nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		l.moves(n)
		switch {
		case err == io.EOF:
			return l.kept(ctx, d)
		case err != nil:
			return err
		}
	}
}

// watch has what comes of a blob count also while nothing of it can be read, as of one that is
// verified first, until stop is called.
func (l *load) watch(ctx context.Context, d digest.Digest) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		for last := int64(0); l.w.pause(ctx) == nil; {
			if now := l.w.cfg.Fetch.Store.Coming(d); now > last {
				last = now
				l.moved()
			}
		}
	}()
	return stop
}

// kept waits for a slow disk to have the blob.
func (l *load) kept(ctx context.Context, d digest.Digest) error {
	for range 30 {
		if l.w.cfg.Fetch.Store.Has(d) {
			return nil
		}
		if err := l.w.pause(ctx); err != nil {
			return err
		}
	}
	return errNotKept
}

// moves notes that a manifest has come, or n bytes of a blob.
func (l *load) moves(n int) {
	l.moved()
	l.w.metrics.bytes.Add(float64(n))
	l.note(func(j *job) { j.bytesHere += int64(n) })
	l.w.mu.Lock()
	l.w.moves++
	l.w.mu.Unlock()
}
