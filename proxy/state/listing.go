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
// with the prefix, come after a name, and match. They are at most so many. until is the last
// repo that was looked at, where the look ended before the last one of all; "": it did not. ok is
// false where the disk does not say.
func (s *DB) Repos(prefix, after string, match func(repo string) bool, most int) (repos []string, until string, ok bool) {
	if s == nil {
		return nil, "", true
	}
	takes := func(repo string) bool { return strings.HasPrefix(repo, prefix) && repo > after && match(repo) }
	all := map[string]bool{}
	s.mu.Lock() // first what waits: by the time that the disk is read it may be there
	for _, waits := range []changes{s.pending, s.writing} {
		for _, bucket := range []string{tagBucket, keptBucket} {
			for key, value := range waits.values[bucket] {
				if repo := repoOf(key); value != nil && takes(repo) {
					all[repo] = true
				}
			}
		}
	}
	s.mu.Unlock()
	type look struct {
		repos []string
		until string
	}
	saved, ok := view(s, patience, func(tx *bolt.Tx) (saved []look) {
		for _, bucket := range []string{tagBucket, keptBucket, string(versionBucket)} {
			repos, until := reposIn(tx.Bucket([]byte(bucket)), max(prefix, after), prefix, takes, most)
			saved = append(saved, look{repos, until})
		}
		return saved
	})
	for _, l := range saved {
		if l.until != "" && (until == "" || l.until < until) {
			until = l.until
		}
		for _, repo := range l.repos {
			all[repo] = true
		}
	}
	repos = slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(repo string) bool { return until != "" && repo > until })
	return repos[:min(len(repos), most)], until, ok
}

// reposIn returns the first repos of a bucket from a name on, and the last one that was looked
// at where there are more.
func reposIn(b *bolt.Bucket, from, prefix string, takes func(string) bool, most int) (repos []string, until string) {
	c := b.Cursor()
	key, _ := c.Seek([]byte(from))
	for steps := 0; key != nil; steps++ {
		repo := repoOf(string(key))
		if repo > prefix && !strings.HasPrefix(repo, prefix) {
			break
		}
		if steps == maxSteps || len(repos) == most {
			return repos, until
		}
		if until = repo; takes(repo) {
			repos = append(repos, repo)
		}
		key, _ = c.Seek([]byte(repo + "\x01")) // past all of its keys
	}
	return repos, ""
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
