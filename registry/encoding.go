package registry

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Encoded reports whether an answer says that its bytes are compressed (RFC 9110, section
// 8.4), though nobody asked for that. It may be so, or be said of what is a compressed file
// by itself: only a digest tells.
func Encoded(h http.Header) bool {
	for _, text := range h.Values("Content-Encoding") {
		for e := range strings.SplitSeq(strings.ToLower(text), ",") {
			switch strings.TrimSpace(e) {
			case "gzip", "x-gzip", "deflate":
				return true
			}
		}
	}
	return false
}

// Decoded reads what the bytes of r were before they were compressed, and bytes that are not
// compressed as they are. Where they cannot be read any further it ends: who reads knows
// by a digest, or by what is missing, that this was not all.
func Decoded(r io.Reader) io.Reader { return &decoded{in: bufio.NewReader(r)} }

type decoded struct {
	in  *bufio.Reader
	out io.Reader // nil: nothing is read yet
}

// Read implements io.Reader.
func (d *decoded) Read(p []byte) (n int, err error) {
	if d.out == nil {
		d.out, err = begin(d.in)
	}
	if err == nil {
		n, err = d.out.Read(p)
	}
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrChecksum) {
		err = io.EOF
	}
	return n, err
}

// begin chooses by the first bytes (RFC 1952, section 2.3.1; RFC 1950, section 2.2).
func begin(in *bufio.Reader) (io.Reader, error) {
	first, err := in.Peek(2)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case err == nil && first[0] == 0x1f && first[1] == 0x8b:
		return gzip.NewReader(in)
	case err == nil && first[0] == 0x78 && (int(first[0])<<8|int(first[1]))%31 == 0:
		return zlib.NewReader(in)
	}
	return in, nil
}

// decode makes an answer whose content is JSON what it was before it was compressed. JSON
// never begins as compressed bytes do, so nothing is taken for what it is not.
func decode(resp *http.Response) {
	resp.Body = struct {
		io.Reader
		io.Closer
	}{Decoded(resp.Body), resp.Body}
	resp.Header.Del("Content-Encoding")
	resp.Header.Del("Content-Length")
	resp.ContentLength, resp.Uncompressed = -1, true
}
