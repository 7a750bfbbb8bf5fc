package store

import (
	"errors"
	"fmt"
	"io"

	"example.org/breakwater/proxy/disk"
)

// readFill reads the fill's next bytes, and waits for them where they have not come.
// It moves the reader to what serves it best: a window, the successor of a failed
// fill, or a direct stream.
func (r *Reader) readFill(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.window != nil {
			if n, err := r.readWindow(p); n > 0 || err != nil {
				return n, err
			}
		}
		f := r.fill
		f.mu.Lock()
		end, done, err, next, changed := f.readable(), f.done, f.err, f.next, f.changed
		size, asked, other := f.size, f.asked, r.otherSize()
		if done {
			size = f.written
		}
		atEnd := size >= 0 && r.offset >= size && size > 0
		ahead := int64(0)
		if !r.waits {
			ahead = f.claim(r.offset)
		}
		f.mu.Unlock()
		switch {
		case errors.Is(err, errNotKept):
			return r.readOn(p)
		case err != nil && r.follow(next):
			continue
		case err != nil:
			return 0, err
		case other != nil:
			return 0, other
		case r.offset < end:
			n, err := r.readFile(p[:min(int64(len(p)), end-r.offset)])
			if n > 0 {
				r.gave, err = true, nil // more bytes may come after the end of the file
			}
			return n, err
		case done, atEnd:
			return 0, io.EOF
		case ahead > 0:
			r.window = &direct{store: f.store, ctx: r.ctx, digest: f.digest, rota: rota{sources: []Source{asked}}, size: size, offset: r.offset, limit: r.offset + ahead}
			continue
		}
		if err := r.wait(changed); err != nil {
			return 0, err
		}
	}
}

// readFile reads from the fill's file, into a buffer that stays the disk's where that
// does not answer.
func (r *Reader) readFile(p []byte) (int, error) {
	buf := r.fill.store.chunks.get()[:min(len(p), chunk)]
	file, offset := r.fill.file, r.offset
	n, err := disk.Do(r.fill.store.disk, writePatience, func() (int, error) { return file.ReadAt(buf, offset) }, nil)
	if !disk.Silent(err) {
		copy(p, buf[:n])
		r.fill.store.chunks.put(buf)
	}
	r.offset += int64(n)
	return n, err
}

// otherSize returns an error where the fill has shown that the blob's length is not the
// one that Size returned. fill.mu is locked.
func (r *Reader) otherSize() error {
	f := r.fill
	if r.told >= 0 && (f.size >= 0 && f.size != r.told || f.done && f.written != r.told || f.written > r.told) {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrWrongContent, max(f.size, f.written), r.told)
	}
	return nil
}

// waitReadable waits until there is something to read. A body that is shorter than
// holdBack can be read only when it is verified.
func (r *Reader) waitReadable() error {
	for {
		r.fill.mu.Lock()
		ready, started, err, next, changed := r.fill.done || r.fill.readable() > 0, r.fill.started, r.fill.err, r.fill.next, r.fill.changed
		r.fill.mu.Unlock()
		switch {
		case errors.Is(err, errNotKept) && started: // Read goes on with a direct stream
			return nil
		case err != nil && r.follow(next):
			continue
		case err != nil:
			return err
		case ready:
			return nil
		}
		if err := r.wait(changed); err != nil {
			return err
		}
	}
}

// follow moves the reader to the successor of a fill that failed. It returns false
// where there is no successor, or where the reader has given away bytes of the failed
// fill, which may be wrong.
func (r *Reader) follow(next *fill) bool {
	if next == nil || r.gave {
		return false
	}
	next.mu.Lock()
	next.users++
	next.unleave()
	next.mu.Unlock()
	r.fill.leave()
	r.closeOwn()
	r.fill = next
	return true
}

// readWindow reads from the window. Where it returns no byte and no error, the window
// is closed.
func (r *Reader) readWindow(p []byte) (int, error) {
	if r.window.offset == r.offset {
		n, err := r.window.read(p)
		r.offset += int64(n)
		if n > 0 || r.ctx.Err() != nil {
			r.gave = true
			return n, err
		}
		r.waits = !errors.Is(err, io.EOF)
		if errors.Is(err, errNoRange) {
			r.fill.mu.Lock()
			r.fill.noWindow = true
			r.fill.mu.Unlock()
		}
	}
	r.window.close()
	r.window = nil
	return 0, nil
}

// readOn reads on after a fill that ended with errNotKept: first what the file has, then
// a direct stream from the sources.
func (r *Reader) readOn(p []byte) (int, error) {
	f := r.fill
	there := f.written // the fill has ended, so written no longer changes
	if f.hash.err != nil {
		if there = max(0, min(there, f.size-holdBack)); f.verifyFirst || r.offset >= there {
			return 0, f.hash.err // it cannot be verified any more
		}
	}
	if r.offset < there {
		return r.readFile(p[:min(int64(len(p)), there-r.offset)])
	}
	d := &direct{store: f.store, ctx: r.ctx, digest: f.digest, rota: rota{sources: f.rota.sources}, size: f.size, offset: r.offset, any: f.verifyFirst}
	if r.offset == f.written {
		d.hash = f.hash.hash
		if err := d.cloneHash(); err != nil {
			return 0, err
		}
	}
	r.direct = d
	r.closeOwn() // the reader needs no file any more
	f.leave()
	r.release = nil
	n, err := d.read(p)
	r.offset += int64(n)
	return n, err
}
