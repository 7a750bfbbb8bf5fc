package store

import (
	"context"
	"errors"
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

func (r *Reader) wait(changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
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
