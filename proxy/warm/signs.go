package warm

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/registry"
)

// Where a digest has its signatures and the like as tags: the fallback of referrers (OCI
// distribution specification, "Referrers Tag Schema"), and cosign's.
var signTags = [...]string{"", ".sig", ".att", ".sbom"}

const (
	unsignedFor  = 6 * time.Hour
	maxReferrers = 256
)

// findSigns returns references of what signs the image or describes it: referrers, and tags. What
// was not there is not asked for again for a while.
func (l *load) findSigns(ctx context.Context) (all []string) {
	repo := l.j.image.Repo
	for _, d := range l.heads {
		if q := l.w.question(registry.KindReferrers, repo, d.String(), ""); !l.unsigned(d.String()) {
			list, err := l.w.cfg.Lists.Referrers(ctx, q)
			l.moved()
			switch {
			case err != nil:
				l.leftOut(err)
			case len(list.All) == 0:
				l.w.unsignedNow(repo, d.String())
			}
			for _, raw := range list.All[:min(len(list.All), maxReferrers)] {
				var r descriptor
				if json.Unmarshal(raw, &r) == nil {
					all = append(all, r.Digest)
				}
			}
		}
		for _, suffix := range signTags {
			if tag := strings.Replace(d.String(), ":", "-", 1) + suffix; l.hasTag(ctx, tag) {
				all = append(all, tag)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// hasTag brings the manifest of a tag, and reports whether there is one.
func (l *load) hasTag(ctx context.Context, tag string) bool {
	repo := l.j.image.Repo
	if l.unsigned(tag) {
		return false
	}
	_, _, err := l.w.cfg.Resolve(ctx, l.w.question(registry.KindManifest, repo, tag, ""), l.anew(tag))
	l.moved()
	switch {
	case outcome.IsNo(err):
		l.w.unsignedNow(repo, tag)
	case err != nil:
		l.leftOut(err)
	}
	return err == nil
}

// unsigned reports whether a reference is not worth a question: there was nothing a while ago, and
// no operator asks.
func (l *load) unsigned(reference string) bool {
	return l.j.kind != Operator && l.w.isUnsigned(l.j.image.Repo, reference)
}

// isUnsigned reports whether there was nothing under a reference a while ago.
func (w *Warmer) isUnsigned(repo, reference string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen, ok := w.unsigned[repo+" "+reference]
	return ok && w.cfg.Now().Sub(seen) < unsignedFor
}

// unsignedNow notes that there is nothing under a reference.
func (w *Warmer) unsignedNow(repo, reference string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Now()
	if len(w.unsigned) >= maxUnsigned {
		maps.DeleteFunc(w.unsigned, func(_ string, seen time.Time) bool { return now.Sub(seen) >= unsignedFor })
	}
	if len(w.unsigned) < maxUnsigned {
		w.unsigned[repo+" "+reference] = now
	}
}
