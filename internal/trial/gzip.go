package trial

import (
	"bytes"
	"compress/gzip"
	"io"
)

// Gzip is a text as gzip compresses it.
func Gzip(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text) //nolint:errcheck // to memory
	z.Close()
	return b.String()
}
