package store

import (
	"io"
	"os"

	"example.org/breakwater/proxy/disk"
)

// Send writes the blob's next n bytes to w as they come. Where w is an io.ReaderFrom, as
// the response of a plain HTTP request is, the kernel copies the bytes that are in the
// fill's file already.
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

// sendBuffer is the size of Send's buffer for bytes that the kernel cannot copy.
const sendBuffer = 64 << 10

// inFile returns how many bytes from the reader's offset on can be sent from the fill's
// file, and moves r.own to that offset. It returns 0 where Send must use Read.
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
		r.own, err = f.openAgain()
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

// closeOwn closes r.own where it is open.
func (r *Reader) closeOwn() {
	if r.own != nil {
		r.fill.store.close(r.own)
		r.own = nil
	}
}

// openAgain opens the fill's file once more.
func (f *fill) openAgain() (*os.File, error) {
	return disk.Do(f.store.disk, patience, func() (*os.File, error) {
		file, _, err := openFile(f.file.Name())
		if err != nil {
			file, _, err = openFile(f.store.path(f.digest)) // it was committed meanwhile, with the same bytes
		}
		return file, err
	}, func(file *os.File, err error) {
		if err == nil {
			file.Close()
		}
	})
}
