package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
)

// What a source sends that may well be no blob's is taken of no source while another one
// answers, and leaves as a fill only when it is verified. A source that can be read
// otherwise is, where its bytes are wrong.
func TestDoubtfulBodies(t *testing.T) {
	right, d := content(300 << 10)
	wrong := bytes.Repeat([]byte("<p>"), 100<<10)
	var told []string
	says := func(name string, b []byte, doubtful bool, otherwise *Source) Source {
		return Source{Name: name, Open: func(_ context.Context, offset, _ int64) (Body, error) {
			told = append(told, name)
			return Body{ReadCloser: io.NopCloser(bytes.NewReader(b[offset:])), Size: int64(len(b)), Offset: offset, Doubtful: doubtful, Otherwise: otherwise}, nil
		}}
	}
	good, page, file := says("good", right, false, nil), says("page", wrong, true, nil), says("file", right, true, nil)
	encoded := says("encoded", wrong, true, &file)
	for name, c := range map[string]struct {
		sources []Source
		fill    bool // else there is no room for one
		right   bool
		asked   []string
	}{
		"a page and a good one":             {[]Source{page, good}, true, true, []string{"page", "good"}},
		"right, and called a page":          {[]Source{file, good}, true, true, []string{"file"}},
		"a page alone":                      {[]Source{page}, true, false, []string{"page"}},
		"what can be read otherwise":        {[]Source{encoded, good}, true, true, []string{"encoded", "file"}},
		"the second can":                    {[]Source{page, encoded}, true, true, []string{"page", "encoded", "file"}},
		"a stream past a page":              {[]Source{page, good}, false, true, []string{"page", "good"}},
		"a stream of what is called a page": {[]Source{file}, false, true, []string{"file", "file"}},
		"a stream of a page":                {[]Source{page}, false, false, []string{"page", "page"}},
	} {
		s := open(t, Config{})
		told = nil
		get := s.Fetch
		if !c.fill {
			get = s.Stream
		}
		var got []byte
		r, err := get(t.Context(), d, c.sources...)
		if err == nil {
			got, err = io.ReadAll(r)
			r.Close()
		}
		if (err == nil) != c.right || err == nil && !bytes.Equal(got, right) || err != nil && !errors.Is(err, ErrWrongContent) || c.fill && len(got) > 0 && !c.right {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if !slices.Equal(told, c.asked) {
			t.Errorf("%s: asked %q, want %q", name, told, c.asked)
		}
	}
}
