package store

import (
	"errors"
	"fmt"
	"io"
)

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
			n, err := f.file.ReadAt(p[:min(int64(len(p)), end-r.offset)], r.offset)
			r.offset += int64(n)
			if n > 0 {
				r.gave, err = true, nil // the end of the file is not the end of the fill
			}
			return n, err
		case done, atEnd:
			return 0, io.EOF
		case ahead > 0:
			r.window = &direct{store: f.store, ctx: r.ctx, digest: f.digest, sources: []Source{asked}, size: size, offset: r.offset, limit: r.offset + ahead}
			continue
		}
		if err := r.wait(changed); err != nil {
			return 0, err
		}
	}
}

// otherSize is an error when the transfer has shown the blob to have another
// length than was given out; fill.mu is held.
func (r *Reader) otherSize() error {
	f := r.fill
	if r.told >= 0 && (f.size >= 0 && f.size != r.told || f.done && f.written != r.told || f.written > r.told) {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrWrongContent, max(f.size, f.written), r.told)
	}
	return nil
}

// waitReadable waits until there is something to read: the source has answered,
// and what came of a short body is verified.
func (r *Reader) waitReadable() error {
	for {
		r.fill.mu.Lock()
		ready, err, next, changed := r.fill.done || r.fill.readable() > 0, r.fill.err, r.fill.next, r.fill.changed
		r.fill.mu.Unlock()
		switch {
		case errors.Is(err, errNotKept): // the reader goes on without the fill
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

// follow moves the reader on to the fill that comes after a wrong body, unless
// it has given away something of that.
func (r *Reader) follow(next *fill) bool {
	if next == nil || r.gave {
		return false
	}
	next.mu.Lock()
	next.users++
	next.mu.Unlock()
	r.fill.leave()
	r.closeOwn()
	r.fill = next
	return true
}

// readWindow reads from the window; nothing and no error means that there is
// none any more.
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

// readOn reads on after the disk refused to take more of the fill: what the file
// has, then from the source again, on this reader's own account.
func (r *Reader) readOn(p []byte) (int, error) {
	f := r.fill
	if r.offset < f.written { // the fill has ended: nobody writes these any more
		n, err := f.file.ReadAt(p[:min(int64(len(p)), f.written-r.offset)], r.offset)
		r.offset += int64(n)
		return n, err
	}
	d := &direct{store: f.store, ctx: r.ctx, digest: f.digest, sources: f.rota.sources, size: f.size, offset: r.offset}
	if r.offset == f.written {
		d.hash = f.hash.hash
		if err := d.cloneHash(); err != nil {
			return 0, err
		}
	}
	r.direct = d
	n, err := d.read(p)
	r.offset += int64(n)
	return n, err
}
