package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// slowSync is more than a disk takes to keep what it was given.
const slowSync = 100 * time.Millisecond

// tryStore wants a disk with room for the store, that can be written to and keeps things.
func (m *machine) tryStore(ctx context.Context, r *results) {
	store := m.Fleet.Edge.Store
	took, err := writeInto(store.Path)
	switch {
	case err != nil:
		r.fault("not-writable", "edge.store.path", fmt.Sprintf("nothing can be written to %s: %s", store.Path, oneLine(err)),
			fmt.Sprintf("let user %d own the directory, on a disk that is not mounted read-only, or set edge.store.path", os.Getuid()))
		return
	case took > slowSync:
		r.warn("slow", "edge.store.path", fmt.Sprintf("the disk of %s takes %v to keep a small file", store.Path, took.Round(time.Millisecond)), "give the store a local disk; pulls wait for it")
	}
	disk, err := diskOf(existing(store.Path))
	if err != nil {
		r.warn("unknown", "edge.store.path", fmt.Sprintf("the disk of %s tells nothing: %s", store.Path, oneLine(err)), "look at it with df")
		return
	}
	if disk.memory {
		r.warn("memory", "edge.store.path", store.Path+" is in memory: what it holds is lost with each start of the machine, and is memory that the daemons lack", "give the store a disk")
	}
	if m.running { // to count what a store holds takes a walk through all of it, and its size stays until the next start
		return
	}
	held, whole := heldBy(ctx, store.Path)
	room := min(disk.free+held, disk.size)
	if !whole {
		room = disk.size
	}
	if size := int64(store.Size); size > room {
		r.fault("room", "edge.store.size", fmt.Sprintf("edge.store.size is %s, and the disk of %s has room for %s (%s free, %s held by the store)", bytesText(size), store.Path, bytesText(room), bytesText(disk.free), bytesText(held)),
			"make edge.store.size smaller, or the disk larger: a full disk takes nothing more, and content is then fetched anew at each pull")
		return
	}
	r.say("%s has room for %s, the store may have %s and holds %s", store.Path, bytesText(room), bytesText(int64(store.Size)), bytesText(held))
}

// disk is what a file system says of itself, in bytes.
type disk struct {
	size, free int64
	memory     bool // it is no disk
}

// existing is the directory, or the nearest one above it that is there.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// writeInto makes a file in the directory and removes it. took is the least of some times
// that the disk needed to keep it. A directory that is not there is not made: it would
// belong to who asks.
func writeInto(dir string) (took time.Duration, err error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		above, err := os.MkdirTemp(existing(dir), ".breakwater-")
		if err != nil {
			return 0, err
		}
		defer os.Remove(above) //nolint:errcheck // it is empty
		dir = above
	case err != nil:
		return 0, err
	case !info.IsDir():
		return 0, errors.New("it is no directory")
	}
	f, err := os.CreateTemp(dir, ".breakwater-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // as far as it goes
	defer f.Close()
	for i := range 5 {
		begun := time.Now()
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		if now := time.Since(begun); i == 0 || now < took {
			took = now
		}
	}
	return took, nil
}

// heldBy is how much the files below the directory hold; whole is false where there was
// no time to look at all of them.
func heldBy(ctx context.Context, dir string) (held int64, whole bool) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			held += info.Size()
		}
		return nil
	})
	return held, err == nil
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<40:
		return fmt.Sprintf("%.1fTiB", float64(n)/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1fGiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
}
