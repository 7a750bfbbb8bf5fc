package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.org/breakwater/registry"
)

// Memory is what an edge remembers across a restart, in one file: the manifests
// that repos were seen to hold, and which repo holds which content. Without it an
// edge that starts while Harbor is down could serve nothing. Safe for concurrent use.
type Memory struct {
	db  *bolt.DB
	log *slog.Logger

	mu      sync.Mutex
	pending changes // since the last write
	writing changes // on their way to disk
	wake    chan struct{}
	done    chan struct{}
	stop    context.CancelFunc
	failed  bool
}

const (
	tagBucket    = "tags"    // repo NUL reference → remembered
	memberBucket = "members" // repo NUL digest → when it was last seen, in s, and in which project
	grantBucket  = "grants"  // a keyed hash → when Harbor last granted it, in s
	listBucket   = "lists"   // repo NUL → its tags; repo NUL digest → the manifest's referrers
	flushEvery   = time.Second
	forgetAfter  = 90 * 24 * time.Hour // what nobody has asked about for so long
	openTimeout  = time.Second
)

// maxChanges bounds what waits, by bucket, for a disk that does not take it.
const maxChanges = 1 << 17

func buckets() []string { return []string{tagBucket, memberBucket, grantBucket, listBucket} }

// changes are values by bucket and key; nil is to be removed.
type changes map[string]map[string][]byte

func noChanges() changes {
	all := changes{}
	for _, name := range buckets() {
		all[name] = map[string][]byte{}
	}
	return all
}

// remembered is an entry on disk.
type remembered struct {
	Digest    string `json:"d"`
	MediaType string `json:"t"`
	Source    string `json:"s"`
	Checked   int64  `json:"c"` // s

	Project   int64             `json:"p,omitempty"` // of memberBucket
	Tags      []string          `json:"l,omitempty"` // of listBucket: the repo's
	Referrers []json.RawMessage `json:"r,omitempty"` // of listBucket: the manifest's
}

// OpenMemory opens the file, or makes it. One that is broken is put aside: the
// edge asks its sources again.
func OpenMemory(path string, log *slog.Logger) (*Memory, error) {
	options := &bolt.Options{Timeout: openTimeout, FreelistType: bolt.FreelistMapType}
	db, err := openSound(path, options)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process uses it; one file serves one edge", path)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("what was remembered cannot be read; put aside", "file", path, "err", err.Error())
		if err := os.Rename(path, path+".broken"); err != nil {
			return nil, fmt.Errorf("open what is remembered: %w", err)
		}
		db, err = openSound(path, options)
	}
	if err != nil {
		return nil, fmt.Errorf("open what is remembered: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open what is remembered: %w", err), db.Close())
	}
	m := &Memory{db: db, log: log, pending: noChanges(), writing: noChanges(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.write(ctx)
	return m, nil
}

// openSound opens a database and reads all of it once: bolt trusts what it
// reads, and what is damaged would end the edge later, and again at every start.
func openSound(path string, options *bolt.Options) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a file that was cut short faults where it is mapped
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it is damaged: %v", fault)
		}
		if err != nil && db != nil {
			err, db = errors.Join(err, db.Close()), nil
		}
	}()
	if db, err = bolt.Open(path, 0o600, options); err != nil {
		return db, err
	}
	return db, db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				bytes.Count(value, key) // touches every byte
				return nil
			})
		})
	})
}

// Close writes down what is not yet on disk.
func (m *Memory) Close() error {
	m.stop()
	<-m.done
	return m.db.Close()
}

// write puts what has changed on disk, once a second at most.
func (m *Memory) write(ctx context.Context) {
	defer close(m.done)
	m.forget()
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			m.flush()
			return
		}
		timer := time.NewTimer(flushEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		m.flush()
	}
}

// flush writes down what has changed. What the disk does not take is kept for
// the next time, so that a removal is not lost.
func (m *Memory) flush() {
	m.mu.Lock()
	m.writing, m.pending = m.pending, noChanges()
	m.mu.Unlock()
	err := m.db.Update(func(tx *bolt.Tx) error {
		for name, keys := range m.writing { // nobody else changes it
			bucket := tx.Bucket([]byte(name))
			for key, value := range keys {
				if err := change(bucket, key, value); err != nil {
					return err
				}
			}
		}
		return nil
	})
	m.mu.Lock()
	if err != nil {
		for name, keys := range m.pending {
			maps.Copy(m.writing[name], keys)
		}
		m.pending = m.writing
	}
	m.writing = noChanges()
	m.mu.Unlock()
	if (err != nil) != m.failed {
		m.failed = err != nil
		if m.failed {
			m.log.Warn("what is remembered cannot be written down; a restart will forget it", "err", err.Error())
		}
	}
}

func change(bucket *bolt.Bucket, key string, value []byte) error {
	if value == nil {
		return bucket.Delete([]byte(key))
	}
	return bucket.Put([]byte(key), value)
}

// forget removes what is old: the file does not grow for ever.
func (m *Memory) forget() {
	oldest := time.Now().Add(-forgetAfter).Unix()
	err := m.db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			c := tx.Bucket([]byte(name)).Cursor()
			for key, value := c.First(); key != nil; key, value = c.Next() {
				var r remembered
				if json.Unmarshal(value, &r) != nil || r.Checked < oldest {
					if err := c.Delete(); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		m.log.Warn("old memories could not be removed", "err", err.Error())
	}
}

func (m *Memory) put(bucket, key string, value *remembered) {
	var text []byte
	if value != nil {
		text, _ = json.Marshal(value) // strings and a number: no error
	}
	m.mu.Lock()
	if text == nil || len(m.pending[bucket]) < maxChanges {
		m.pending[bucket][key] = text
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *Memory) get(bucket, key string) (r remembered, ok bool) {
	m.mu.Lock()
	text, waits := m.pending[bucket][key]
	if !waits {
		text, waits = m.writing[bucket][key]
	}
	m.mu.Unlock()
	if !waits {
		err := m.db.View(func(tx *bolt.Tx) error {
			text = append([]byte(nil), tx.Bucket([]byte(bucket)).Get([]byte(key))...)
			return nil
		})
		if err != nil {
			return r, false
		}
	}
	return r, len(text) > 0 && json.Unmarshal(text, &r) == nil
}

func key(repo, reference string) string { return repo + "\x00" + reference }

// tag returns what a reference was last seen to be.
func (m *Memory) tag(k tagKey) (e entry, ok bool) {
	if m == nil {
		return e, false
	}
	r, ok := m.get(tagBucket, key(k.repo, k.reference))
	if !ok {
		return e, false
	}
	d, err := registry.ParseDigest(r.Digest)
	// Never fresh: what was written since is not remembered.
	return entry{digest: d, mediaType: r.MediaType, source: r.Source}, err == nil
}

func (m *Memory) putTag(k tagKey, e entry) {
	if m != nil {
		m.put(tagBucket, key(k.repo, k.reference), &remembered{Digest: e.digest.String(), MediaType: e.mediaType, Source: e.source, Checked: e.checked.Unix()})
	}
}

func (m *Memory) dropTag(k tagKey) {
	if m != nil {
		m.put(tagBucket, key(k.repo, k.reference), nil)
	}
}

// tagList returns the tags that a repo was last seen to have, sorted.
func (m *Memory) tagList(repo string) []string {
	if m == nil {
		return nil
	}
	r, _ := m.get(listBucket, key(repo, ""))
	return r.Tags
}

func (m *Memory) putTagList(repo string, tags []string) {
	if m != nil {
		m.put(listBucket, key(repo, ""), &remembered{Tags: tags, Checked: time.Now().Unix()})
	}
}

// referrers returns what was last seen to refer to a manifest.
func (m *Memory) referrers(repo string, d digest.Digest) []json.RawMessage {
	if m == nil {
		return nil
	}
	r, _ := m.get(listBucket, key(repo, d.String()))
	return r.Referrers
}

func (m *Memory) putReferrers(repo string, d digest.Digest, all []json.RawMessage) {
	if m != nil {
		m.put(listBucket, key(repo, d.String()), &remembered{Referrers: all, Checked: time.Now().Unix()})
	}
}

// Join implements access.Members.
func (m *Memory) Join(repo string, d digest.Digest, project int64) {
	m.put(memberBucket, key(repo, d.String()), &remembered{Checked: time.Now().Unix(), Project: project})
}

// Member implements access.Members.
func (m *Memory) Member(repo string, d digest.Digest) (project int64, ok bool) {
	r, ok := m.get(memberBucket, key(repo, d.String()))
	return r.Project, ok
}

// Leave implements access.Members.
func (m *Memory) Leave(repo string) {
	prefix := key(repo, "")
	var gone []string
	m.mu.Lock() // first what waits: by the time that the disk is read it may be there
	for _, waits := range []changes{m.pending, m.writing} {
		for k := range waits[memberBucket] {
			if strings.HasPrefix(k, prefix) {
				gone = append(gone, k)
			}
		}
	}
	m.mu.Unlock()
	m.db.View(func(tx *bolt.Tx) error { //nolint:errcheck // reading fails on a closed file alone
		c := tx.Bucket([]byte(memberBucket)).Cursor()
		for k, _ := c.Seek([]byte(prefix)); strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
			gone = append(gone, string(k))
		}
		return nil
	})
	for _, k := range gone {
		m.put(memberBucket, k, nil)
	}
}

// Grant implements access.Grants.
func (m *Memory) Grant(key string, at time.Time) {
	m.put(grantBucket, key, &remembered{Checked: at.Unix()})
}

// Granted implements access.Grants.
func (m *Memory) Granted(key string) (time.Time, bool) {
	r, ok := m.get(grantBucket, key)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(r.Checked, 0), true
}

// Revoke implements access.Grants.
func (m *Memory) Revoke(key string) { m.put(grantBucket, key, nil) }
