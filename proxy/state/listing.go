package state

import (
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// maxSteps is how many repos a look passes, of those that do not match.
const maxSteps = 100_000

// Repos returns the repos of which a tag or a version is remembered, in order: those that begin
// with the prefix, come after a name, and match. They are at most so many. ok is false where
// the disk does not say.
func (s *DB) Repos(prefix, after string, match func(repo string) bool, most int) (repos []string, ok bool) {
	if s == nil {
		return nil, true
	}
	takes := func(repo string) bool { return strings.HasPrefix(repo, prefix) && repo > after && match(repo) }
	all := map[string]bool{}
	s.mu.Lock() // first what waits: by the time that the disk is read it may be there
	for _, waits := range []changes{s.pending, s.writing} {
		for _, bucket := range []string{tagBucket, keptBucket} {
			for key, value := range waits.values[bucket] {
				if repo, _, _ := strings.Cut(key, "\x00"); value != nil && takes(repo) {
					all[repo] = true
				}
			}
		}
	}
	s.mu.Unlock()
	saved, ok := view(s, patience, func(tx *bolt.Tx) (saved []string) {
		for _, bucket := range []string{tagBucket, keptBucket, string(versionBucket)} {
			saved = append(saved, reposIn(tx.Bucket([]byte(bucket)), max(prefix, after), prefix, takes, most)...)
		}
		return saved
	})
	for _, repo := range saved {
		all[repo] = true
	}
	repos = slices.Sorted(maps.Keys(all))
	return repos[:min(len(repos), most)], ok
}

// reposIn returns the first repos of a bucket from a name on.
func reposIn(b *bolt.Bucket, from, prefix string, takes func(string) bool, most int) (repos []string) {
	c := b.Cursor()
	key, _ := c.Seek([]byte(from))
	for steps := 0; key != nil && steps < maxSteps && len(repos) < most; steps++ {
		repo, _, _ := strings.Cut(string(key), "\x00")
		if repo > prefix && !strings.HasPrefix(repo, prefix) {
			break
		}
		if takes(repo) {
			repos = append(repos, repo)
		}
		key, _ = c.Seek([]byte(repo + "\x01")) // past all of its keys
	}
	return repos
}

// TagsOf returns the tags of a repo that are remembered, in order. ok is false where the disk
// does not say.
func (s *DB) TagsOf(repo string) (tags []string, ok bool) {
	if s == nil {
		return nil, true
	}
	all, ok := map[string]bool{}, true
	for _, bucket := range []string{tagBucket, keptBucket} {
		keys, said := s.keys(bucket, key(repo, ""))
		ok = ok && said
		for k := range keys {
			if tag := strings.TrimPrefix(k, key(repo, "")); !strings.Contains(tag, ":") { // else it is a digest
				all[tag] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all)), ok
}
