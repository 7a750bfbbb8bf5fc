package version

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// before adds a digest to what a reference was before it is what it is now.
func before(past []digest.Digest, d, now digest.Digest) []digest.Digest {
	others := slices.DeleteFunc(slices.Clone(past), func(other digest.Digest) bool { return other == d || other == now })
	return append([]digest.Digest{d}, others[:min(len(others), maxPast-1)]...)
}

// with returns e's past with what another edge knows of it too.
func (e entry) with(past []digest.Digest) []digest.Digest {
	all := e.Past
	for _, d := range slices.Backward(past) {
		if d != e.Digest && !slices.Contains(all, d) {
			all = before(all, d, e.Digest)
		}
	}
	return all
}

// overtaken notes versions of tags that were overtaken before they were heard of: who tells
// of such a digest again tells nothing new. own says that this edge took such a push: the
// others hear of it from here. l.writing is held.
func (l *Ledger) overtaken(own bool, all ...Announced) {
	entries := map[Key]entry{}
	for _, a := range all {
		key := a.Key()
		e, ok := entries[key]
		if !ok {
			e = l.get(key)
		}
		past := a.Past
		if e.Version.Newer(a.Version) && a.Digest != "" {
			past = append([]digest.Digest{a.Digest}, past...)
		}
		if more := e.with(past); key.IsTag() && !slices.Equal(more, e.Past) {
			e.Past, e.Relayed = more, e.Relayed || own && e.By != ""
			entries[key] = e
		}
	}
	if len(entries) > 0 {
		l.save(entries, nil)
	}
}
