package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// FuzzReader compares what a reader of a running fill reads with a slice of bytes.
func FuzzReader(f *testing.F) {
	f.Add(uint32(200<<10), uint32(100), uint16(4000), true)
	f.Add(uint32(1), uint32(0), uint16(1), false)
	f.Add(uint32(0), uint32(0), uint16(1), true)
	f.Fuzz(func(t *testing.T, size, offset uint32, step uint16, known bool) {
		b, d := content(int(size % (1 << 20)))
		said := int64(-1)
		if known {
			said = int64(len(b))
		}
		s := open(t, Config{})
		r := mustFetch(t, s, d, from(func(context.Context, int64, int64) (Body, error) {
			return Body{ReadCloser: io.NopCloser(iotest.HalfReader(bytes.NewReader(b))), Size: said, Offset: 0}, nil
		}))
		at := int64(offset) % int64(len(b)+1)
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, int(step)+1)
		var got []byte
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, b[at:]) {
			t.Errorf("%d bytes from %d of %d", len(got), at, len(b))
		}
	})
}

// FuzzRanges compares what several readers read, each its own ranges, with a slice of
// bytes. Meanwhile the blob arrives in pieces, its source breaks off several times, and
// the disk takes the fill or refuses it.
func FuzzRanges(f *testing.F) {
	f.Add(uint64(1), uint32(200<<10), uint8(0), true, false, true)
	f.Add(uint64(2), uint32(700<<10), uint8(3), true, true, true)
	f.Add(uint64(3), uint32(300<<10), uint8(2), false, false, true)
	f.Add(uint64(4), uint32(300<<10), uint8(2), true, true, false)
	f.Add(uint64(5), uint32(64<<10), uint8(1), false, true, false)
	f.Add(uint64(6), uint32(0), uint8(1), true, true, false)
	f.Fuzz(func(t *testing.T, seed uint64, size uint32, cuts uint8, known, ranges, disk bool) {
		synctest.Test(t, func(t *testing.T) {
			b, d := content(int(size % (1 << 20)))
			s := open(t, Config{})
			if !disk {
				noFills(t, s)
			}
			var all sync.WaitGroup
			for worker := range 4 {
				random := rand.New(rand.NewPCG(seed, uint64(worker)))
				r := mustFetch(t, s, d, breaking(b, seed+uint64(worker), int(cuts%4), known, ranges))
				all.Go(func() {
					if worker == 0 {
						if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
							t.Errorf("the whole: %d bytes of %d, %v", len(got), len(b), err)
						}
						return
					}
					for range 4 {
						if err := checkRange(r, b, random); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			s.Close()
		})
	})
}

// checkRange reads a range of r and compares it with b.
func checkRange(r *Reader, b []byte, random *rand.Rand) error {
	at := random.IntN(len(b) + 1)
	got := make([]byte, random.IntN(len(b)-at+1))
	if _, err := r.Seek(int64(at), io.SeekStart); err != nil {
		return err
	}
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, b[at:at+len(got)]) {
		return fmt.Errorf("range %d+%d of %d: %d bytes, %v", at, len(got), len(b), n, err)
	}
	return nil
}

// breaking returns a source that sends b in pieces, with a pause before each piece, and
// breaks off cuts times.
func breaking(b []byte, seed uint64, cuts int, known, ranges bool) Source {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 99))
	size := int64(-1)
	if known {
		size = int64(len(b))
	}
	return from(func(_ context.Context, offset, _ int64) (Body, error) {
		mu.Lock()
		defer mu.Unlock()
		if !ranges {
			offset = 0
		}
		rest, end := b[offset:], io.EOF
		if cuts > 0 {
			cuts--
			rest, end = rest[:random.IntN(len(rest)+1)], io.ErrUnexpectedEOF
		}
		piece := 1 + random.IntN(len(b)/4+1)
		return Body{ReadCloser: io.NopCloser(readerFunc(func(p []byte) (int, error) {
			<-time.After(time.Millisecond)
			if len(rest) == 0 {
				return 0, end
			}
			n := copy(p[:min(len(p), piece)], rest)
			rest = rest[n:]
			return n, nil
		})), Size: size, Offset: offset}, nil
	})
}
