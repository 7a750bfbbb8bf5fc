// Package state is what an edge remembers across a restart, in one file: what tags
// were seen to be, lists, which repo holds which content, and what Harbor granted.
// Without it an edge that starts while Harbor is down could serve nothing. The rooms
// that remember something declare the interface where they use it; DB implements all
// of them.
package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.org/breakwater/proxy/disk"
)

// DB is an open state file. Safe for concurrent use. A nil DB remembers no tags and no
// lists; it is no access.Members and no access.Grants.
type DB struct {
	db     *bolt.DB
	reads  *disk.Disk // what requests read of db: the file may not be in memory, and its disk may hang
	writes *disk.Disk // what requests wait for to be written
	log    *slog.Logger

	saving sync.Mutex
	size   map[string]int64 // bytes of keys and values by bucket; saving is held
	failed bool             // saving is held

	mu      sync.Mutex
	pending changes // since the last write
	writing changes // on their way to disk
	wake    chan struct{}
	done    chan struct{}
	stop    context.CancelFunc
}

const openTimeout = time.Second

// Open opens the file, or makes it. A file that is damaged is put aside: the edge
// asks its sources again. A file of a newer format is an error, and stays as it is.
func Open(path string, log *slog.Logger) (*DB, error) {
	db, err := openSound(path)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process uses it; one file serves one edge", path)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNewer) {
		log.Warn("the state file cannot be read; it is put aside", "file", path, "err", err.Error())
		if err := os.Rename(path, path+".broken"); err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		db, err = openSound(path)
	}
	if err == nil {
		if err = prepare(db); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	s := &DB{db: db, reads: disk.New(), writes: disk.New(), log: log, size: map[string]int64{}, pending: noChanges(), writing: noChanges(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.write(ctx)
	return s, nil
}

// openSound opens a database and reads all of it once: bolt trusts what it
// reads, and what is damaged would end the edge later, and again at every start.
// A file of a newer format is not read further: its pages may mean something else.
func openSound(path string) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a file that was cut short faults where it is mapped
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it is damaged: %v", fault)
		}
		if err != nil && db != nil {
			err, db = errors.Join(err, db.Close()), nil
		}
	}()
	if db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout, FreelistType: bolt.FreelistMapType}); err != nil {
		return db, err
	}
	return db, db.View(func(tx *bolt.Tx) error {
		if err := checkFormat(tx); err != nil {
			return err
		}
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				bytes.Count(value, key) // touches every byte
				return nil
			})
		})
	})
}

// prepare makes the buckets that are missing, and brings an older file to this format.
func prepare(db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return migrate(tx)
	})
}

// Hanging reports whether the file's disk does not answer.
func (s *DB) Hanging() bool { return s != nil && (s.reads.Hangs() || s.writes.Hangs()) }

// Close saves what is not yet on disk. It does not wait for a disk that hangs.
func (s *DB) Close() error {
	s.stop()
	return s.writes.Call(closePatience, func() error {
		<-s.done
		return s.db.Close()
	})
}

// How long the disk is waited for.
const (
	patience      = time.Second      // for what a client waits for
	putPatience   = 10 * time.Second // for what must be on disk before the client hears of it
	closePatience = time.Minute      // for all that waits
)

// view reads the file. What fn finds it returns, and gives to nobody else: where the disk
// does not answer, it may still run when view has returned. ok is false then.
func view[T any](s *DB, patience time.Duration, fn func(tx *bolt.Tx) T) (found T, ok bool) {
	found, err := disk.Do(s.reads, patience, func() (found T, err error) {
		err = s.db.View(func(tx *bolt.Tx) error {
			found = fn(tx)
			return nil
		})
		return found, err
	}, nil)
	return found, err == nil
}

// update changes the file, for who waits for that. What fn uses must not change: as above.
func (s *DB) update(fn func(tx *bolt.Tx) error) error {
	return s.writes.Call(putPatience, func() error { return s.db.Update(fn) })
}
