package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Reader reads one blob from any offset, also while it is still arriving: then
// Read waits for its bytes. A Reader is for one goroutine; any number of Readers
// share a blob, and a slow one holds up nobody.
type Reader struct {
	file    *os.File // a held blob
	fill    *fill    // else the transfer
	own     *os.File // the transfer's file, opened for this reader's Send
	direct  *direct  // else, or after the transfer's disk failed, a stream of this reader's own
	window  *direct  // beside the transfer: a part that is far ahead of it
	waits   bool     // windows have failed: the transfer is waited for
	gave    bool     // bytes of the transfer, or of a window
	told    int64    // the length that was given out; -1: none was
	expects int64    // the length by what names the blob; -1: not known
	ctx     context.Context
	size    int64
	offset  int64
	err     error
	release func()
	once    sync.Once
}

// reader returns a reader of the fill; f.mu is held.
func (f *fill) reader(ctx context.Context) *Reader {
	f.users++
	r := &Reader{fill: f, ctx: ctx, told: -1, expects: -1}
	r.release = func() { r.fill.leave() }
	return r
}

// Owner is the owner of the sources that the bytes come from; "" for those of a
// held blob.
func (r *Reader) Owner() string {
	var sources []Source
	switch {
	case r.fill != nil:
		sources = r.fill.rota.sources
	case r.direct != nil:
		sources = r.direct.sources
	}
	if len(sources) == 0 {
		return ""
	}
	return sources[0].Owner
}

// Expect says how long the blob is by what names it, for a source that does not
// say. It is this reader's alone: a blob of another length is ErrWrongContent to
// it, and to nobody else.
func (r *Reader) Expect(size int64) {
	r.expects = size
	if r.direct != nil && r.direct.size < 0 {
		r.direct.size = size
	}
}

// Size returns the blob's length in bytes; known is false while the source of a
// running fill has not said it.
func (r *Reader) Size() (n int64, known bool) {
	if r.file != nil {
		return r.size, true
	}
	n = -1
	switch {
	case r.fill == nil:
		n = r.direct.size
	default:
		r.fill.mu.Lock()
		if n = r.fill.size; r.fill.done {
			n = r.fill.written
		}
		r.fill.mu.Unlock()
	}
	if n < 0 {
		n = r.expects
	}
	if n >= 0 {
		r.told = n
	}
	return n, n >= 0
}

// File returns the bare file of a held blob, which a server can hand to the
// kernel. It belongs to the Reader.
func (r *Reader) File() (file *os.File, held bool) { return r.file, r.file != nil }

// Filling reports whether the blob is still arriving.
func (r *Reader) Filling() bool {
	if r.fill == nil {
		return false
	}
	r.fill.mu.Lock()
	defer r.fill.mu.Unlock()
	return !r.fill.done
}

// Err is what ended the reading before its time, nil where nothing did.
// http.ServeContent keeps such errors to itself.
func (r *Reader) Err() error { return r.err }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (n int, err error) {
	switch {
	case r.file != nil:
		n, err = r.file.Read(p)
	case r.direct != nil:
		r.direct.seek(r.offset)
		n, err = r.direct.read(p)
		r.offset += int64(n)
	default:
		n, err = r.readFill(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

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
		case errors.Is(err, errUnkept):
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
		case errors.Is(err, errUnkept): // the reader goes on without the fill
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

func (r *Reader) wait(changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Send writes the next n bytes to w, as they come. What has come leaves by the
// kernel where w can have it so (io.ReaderFrom, as a plain HTTP response's).
func (r *Reader) Send(w io.Writer, n int64) (sent int64, err error) {
	var buf []byte
	for sent < n && err == nil {
		var m int64
		if come := r.inFile(); come > 0 {
			m, err = io.CopyN(w, r.own, min(come, n-sent))
			r.offset += m
			r.gave = r.gave || m > 0
		} else {
			if buf == nil {
				buf = make([]byte, sendBuffer)
			}
			var k int
			if k, err = r.Read(buf[:min(int64(len(buf)), n-sent)]); k > 0 {
				k, err = w.Write(buf[:k])
			}
			m = int64(k)
		}
		sent += m
	}
	return sent, err
}

const sendBuffer = 64 << 10

// inFile returns how many bytes from the reader's offset on are in the
// transfer's file, which is at that offset then; 0 where Read has to see to it.
func (r *Reader) inFile() int64 {
	f := r.fill
	if f == nil || r.direct != nil || r.window != nil {
		return 0
	}
	f.mu.Lock()
	come, err, other := f.readable()-r.offset, f.err, r.otherSize()
	f.mu.Unlock()
	if err != nil || other != nil || come <= 0 {
		return 0
	}
	if r.own == nil {
		if r.own, err = os.Open(f.file.Name()); err != nil {
			r.own, err = os.Open(f.store.path(f.digest)) // committed meanwhile: the same bytes
		}
	}
	if err == nil {
		_, err = r.own.Seek(r.offset, io.SeekStart)
	}
	if err != nil {
		r.closeOwn()
		return 0
	}
	return come
}

func (r *Reader) closeOwn() {
	if r.own != nil {
		r.own.Close()
		r.own = nil
	}
}

// Seek implements io.Seeker. From the end it waits until the length is known.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	if r.file != nil {
		return r.file.Seek(offset, whence)
	}
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		size, err := r.waitSize()
		if err != nil {
			r.err = err
			return 0, err
		}
		offset += size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a blob")
	}
	r.offset = offset
	return offset, nil
}

func (r *Reader) waitSize() (int64, error) {
	for {
		if size, known := r.Size(); known {
			return size, nil
		}
		if r.fill == nil {
			return 0, errors.New("nobody has said how long the blob is")
		}
		r.fill.mu.Lock()
		err, next, changed := r.fill.err, r.fill.next, r.fill.changed
		r.fill.mu.Unlock()
		switch {
		case err != nil && r.follow(next):
			continue
		case err != nil:
			return 0, err
		}
		if err := r.wait(changed); err != nil {
			return 0, err
		}
	}
}

// Close implements io.Closer.
func (r *Reader) Close() error {
	var err error
	r.once.Do(func() {
		if r.file != nil {
			err = r.file.Close()
		}
		r.closeOwn()
		for _, stream := range []*direct{r.direct, r.window} {
			if stream != nil {
				stream.close()
			}
		}
		if r.release != nil {
			r.release()
		}
	})
	return err
}
