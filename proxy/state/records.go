package state

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// key separates the parts by NUL, which no repo and no reference has in it.
func key(repo, reference string) string { return repo + "\x00" + reference }

// repoOf is the repo of a key.
func repoOf(key string) string {
	repo, _, _ := strings.Cut(key, "\x00")
	return repo
}

// Tag returns what a reference was last seen to be.
func (s *DB) Tag(repo, reference string) (d digest.Digest, mediaType, source string, ok bool) {
	if s == nil {
		return "", "", "", false
	}
	r, ok := s.getOf(repo, tagBucket, key(repo, reference))
	if !ok {
		return "", "", "", false
	}
	d, err := registry.ParseDigest(r.Digest)
	return d, r.MediaType, r.Source, err == nil
}

// PutTag remembers what a reference was seen to be.
func (s *DB) PutTag(repo, reference string, d digest.Digest, mediaType, source string, seen time.Time) {
	if s != nil {
		s.put(tagBucket, key(repo, reference), &record{Project: s.projectOf(repo), Digest: d.String(), MediaType: mediaType, Source: source, Checked: seen.Unix()})
	}
}

// DropTag forgets a reference.
func (s *DB) DropTag(repo, reference string) {
	if s != nil {
		s.put(tagBucket, key(repo, reference), nil)
	}
}

// TagList returns the tags that a repo was last seen to have, sorted; nil: it was not seen.
func (s *DB) TagList(repo string) []string {
	if s == nil {
		return nil
	}
	r, ok := s.getOf(repo, listBucket, key(repo, ""))
	if ok && r.Tags == nil {
		return []string{} // it had none
	}
	return r.Tags
}

// PutTagList remembers the tags of a repo.
func (s *DB) PutTagList(repo string, tags []string) {
	if s != nil {
		s.put(listBucket, key(repo, ""), &record{Project: s.projectOf(repo), Tags: tags, Checked: time.Now().Unix()})
	}
}

// Referrers returns the descriptors of what was last seen to refer to a manifest.
func (s *DB) Referrers(repo string, d digest.Digest) []json.RawMessage {
	if s == nil {
		return nil
	}
	r, _ := s.getOf(repo, listBucket, key(repo, d.String()))
	return r.Referrers
}

// PutReferrers remembers the descriptors of what refers to a manifest.
func (s *DB) PutReferrers(repo string, d digest.Digest, all []json.RawMessage) {
	if s != nil {
		s.put(listBucket, key(repo, d.String()), &record{Project: s.projectOf(repo), Referrers: all, Checked: time.Now().Unix()})
	}
}

// PutProject remembers which project has a name: its id, when Harbor said it, when it was
// made, and when it was made again. Tags and lists are of the project that had the name
// when they were put: those of another one are not returned.
func (s *DB) PutProject(name string, id int64, asked, created, since time.Time) {
	r := &record{Project: id, Checked: asked.Unix(), Created: created.UnixMilli()}
	if !since.IsZero() {
		r.Since = since.UnixMilli()
	}
	s.put(projectBucket, name, r)
}

// Project returns that. The id is 0 where there is none.
func (s *DB) Project(name string) (id int64, asked, created, since time.Time) {
	r, ok := s.get(projectBucket, name)
	if !ok {
		return 0, asked, created, since
	}
	if r.Since != 0 {
		since = time.UnixMilli(r.Since)
	}
	return r.Project, time.Unix(r.Checked, 0), time.UnixMilli(r.Created), since
}

// projectOf returns the id of the repo's project.
func (s *DB) projectOf(repo string) int64 {
	name, _, _ := strings.Cut(repo, "/")
	r, _ := s.get(projectBucket, name)
	return r.Project
}

// getOf is get, of what was put while the repo's project was the one that it is now.
func (s *DB) getOf(repo, bucket, key string) (record, bool) {
	r, ok := s.get(bucket, key)
	if !ok || r.Project != s.projectOf(repo) {
		return record{}, false
	}
	return r, true
}

// Join remembers that a repo of the project holds the digest.
func (s *DB) Join(repo string, d digest.Digest, project int64) {
	s.put(memberBucket, key(repo, d.String()), &record{Checked: time.Now().Unix(), Project: project})
}

// Member returns the id of the project in which the repo was seen to hold the digest, and when
// it was last.
func (s *DB) Member(repo string, d digest.Digest) (project int64, joined time.Time, ok bool) {
	r, ok := s.get(memberBucket, key(repo, d.String()))
	return r.Project, time.Unix(r.Checked, 0), ok
}

// DropDigest forgets every reference of the repo that was last seen to be the digest.
func (s *DB) DropDigest(repo string, d digest.Digest) {
	if s != nil {
		for _, bucket := range []string{tagBucket, keptBucket} {
			s.drop(bucket, key(repo, ""), func(r record) bool { return r.Digest == d.String() })
		}
	}
}

// DropLists forgets the lists of a repo.
func (s *DB) DropLists(repo string) {
	if s != nil {
		s.drop(listBucket, key(repo, ""), func(record) bool { return true })
	}
}

// Leave forgets what a repo holds.
func (s *DB) Leave(repo string) {
	s.drop(memberBucket, key(repo, ""), func(record) bool { return true })
}

// drop removes the records whose key begins with the prefix and that goes takes, by what
// was last put under the key.
func (s *DB) drop(bucket, prefix string, goes func(record) bool) {
	keys, ok := s.keys(bucket, prefix)
	if !ok { // the disk does not say what there is to forget
		s.losesAll(bucket)
		return
	}
	for key := range keys {
		if r, ok := s.get(bucket, key); ok && goes(r) {
			s.put(bucket, key, nil)
		}
	}
}

// Grant remembers when Harbor last granted what the key, a keyed hash, stands for.
func (s *DB) Grant(key string, at time.Time) {
	s.put(grantBucket, key, &record{Checked: at.Unix()})
}

// Granted returns when that was.
func (s *DB) Granted(key string) (time.Time, bool) {
	r, ok := s.get(grantBucket, key)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(r.Checked, 0), true
}

// Revoke forgets a grant.
func (s *DB) Revoke(key string) { s.put(grantBucket, key, nil) }
