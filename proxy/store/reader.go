package store

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/disk"
)

// Reader reads one blob, from any offset. While a fill is bringing the blob, Read
// waits for bytes. A Reader is for one goroutine. Any number of Readers may read the
// same blob; a slow one does not hold up the others.
//
// A Reader has a file, a fill or a direct stream. It has a fill and a direct stream
// where the fill ended with errNotKept.
type Reader struct {
	store   *Store        // of a held blob
	file    *os.File      // a held blob's file
	digest  digest.Digest // of a held blob
	fill    *fill
	direct  *direct
	own     *os.File // the fill's file, opened again for this reader's Send
	window  *direct  // a part of the blob far ahead of the fill; nil: none
	waits   bool     // a window has failed; the reader waits for the fill from now on
	gave    bool     // Read or Send has given bytes of the fill, or of a window
	told    int64    // the length that Size has returned; -1: none
	expects int64    // the length that Expect was given; -1: none
	ctx     context.Context
	size    int64 // of the file
	offset  int64 // of the next byte, but for a file, which has its own
	err     error // see Err
	release func()
	once    sync.Once // Close's
}

var _ io.ReadSeekCloser = (*Reader)(nil)

// reader returns a reader of the fill. f.mu is locked.
func (f *fill) reader(ctx context.Context) *Reader {
	f.users++
	f.joined++
	f.unleave()
	r := &Reader{fill: f, ctx: ctx, told: -1, expects: -1}
	r.release = func() { r.fill.leave() }
	return r
}

// Owner returns the Owner of the sources that the bytes come from. It returns "" for a
// held blob.
func (r *Reader) Owner() string {
	var sources []Source
	switch {
	case r.fill != nil:
		sources = r.fill.rota.sources
	case r.direct != nil:
		sources = r.direct.rota.sources
	}
	if len(sources) == 0 {
		return ""
	}
	return sources[0].Owner
}

// Expect sets the blob's length, as the manifest that names the blob says it, for a
// source that does not say it. It holds for this Reader only: where the blob turns out
// to have another length, this Reader fails with ErrWrongContent and no other does.
func (r *Reader) Expect(size int64) {
	r.expects = size
	if r.direct != nil && r.direct.size < 0 {
		r.direct.size = size
	}
}

// Size returns the blob's length in bytes. known is false while the source of a running
// fill has not said the length, and Expect was not called.
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

// File returns the file of a held and verified blob. A server can let the kernel send
// it. The file belongs to the Reader, which closes it.
func (r *Reader) File() (file *os.File, held bool) { return r.file, r.file != nil }

// Broke is to be called where less of File was sent than it has: the client has left, or the disk
// cannot read what comes next. A blob that it cannot read is dropped, and the next request fetches
// it again.
func (r *Reader) Broke() {
	_, err := disk.Do(r.store.disk, patience, func() (int, error) { return r.file.Read(make([]byte, 1)) }, nil)
	r.noteRead(err)
}

// noteRead takes note of how a read of a held blob's file ended.
func (r *Reader) noteRead(err error) {
	if err != nil && !errors.Is(err, io.EOF) {
		(&proof{store: r.store, digest: r.digest, file: r.file}).unreadable(err)
	}
}

// Filling reports whether a fill is still bringing the blob.
func (r *Reader) Filling() bool {
	if r.fill == nil {
		return false
	}
	r.fill.mu.Lock()
	defer r.fill.mu.Unlock()
	return !r.fill.done
}

// Err returns the error that ended reading before the blob's end, or nil.
// http.ServeContent does not return such errors, so its caller asks here.
func (r *Reader) Err() error { return r.err }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (n int, err error) {
	switch {
	case r.file != nil:
		n, err = r.file.Read(p)
		r.noteRead(err)
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

// wait waits for a change of the fill.
func (r *Reader) wait(changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Seek implements io.Seeker. A seek from the end waits until the length is known.
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

// waitSize waits until the length is known, and returns it.
func (r *Reader) waitSize() (int64, error) {
	for {
		if size, known := r.Size(); known {
			return size, nil
		}
		if r.fill == nil {
			return 0, errors.New("the length of the blob is not known")
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

// Close implements io.Closer. It ends the reader's use of the fill or its pin of the
// blob. It may be called again.
func (r *Reader) Close() error {
	var err error
	r.once.Do(func() {
		if r.file != nil {
			err = r.store.close(r.file)
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
