package registry

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

func deflated(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	io.WriteString(z, text) //nolint:errcheck // to memory
	z.Close()
	return b.String()
}

// An encoding that nobody asked for is undone of what is JSON, and what a label says of
// bytes that are not encoded is nothing. A blob is left as it comes: its digest tells.
func TestAnEncodingNobodyAskedFor(t *testing.T) {
	const text = `{"schemaVersion":2}`
	s, far := atTrial(t, SourceConfig{})
	manifest := Request{Method: http.MethodGet, Kind: KindManifest, Repo: "p/a", Tag: "v1"}
	for name, c := range map[string]struct {
		r      Request
		status int
		label  string
		body   string
		want   string
	}{
		"gzip":                      {manifest, 200, "gzip", trial.Gzip(text), text},
		"as Apache says it":         {manifest, 200, "X-GZIP", trial.Gzip(text), text},
		"deflate":                   {manifest, 200, "deflate", deflated(text), text},
		"one of two":                {manifest, 200, "aws-chunked, gzip", trial.Gzip(text), text},
		"the other is said":         {manifest, 200, "deflate", trial.Gzip(text), text},
		"a refusal":                 {manifest, 404, "gzip", trial.Gzip(text), text},
		"of a blob":                 {blobRequest(), 404, "gzip", trial.Gzip(text), text},
		"a label only":              {manifest, 200, "gzip", text, text},
		"a label, and nothing":      {manifest, 200, "gzip", "", ""},
		"a label, and one byte":     {manifest, 200, "gzip", "{", "{"},
		"one that it cannot be":     {manifest, 200, "aws-chunked", text, text},
		"no label":                  {manifest, 200, "", trial.Gzip(text), trial.Gzip(text)},
		"a blob":                    {blobRequest(), 200, "gzip", trial.Gzip(text), trial.Gzip(text)},
		"what breaks off":           {manifest, 200, "gzip", trial.Gzip(text)[:20], text},
		"what is corrupt":           {manifest, 200, "gzip", "\x1f\x8bxxxxxxxxxxxxxxxxx", ""},
		"another checksum":          {manifest, 200, "gzip", trial.Gzip(text)[:len(trial.Gzip(text))-8] + "12345678", text},
		"corrupt and said deflated": {manifest, 200, "deflate", "\x78\x9cxxxxxxxxxxxx", ""},
	} {
		far.Say(c.r.Path(), trial.Answer{Status: c.status, Header: http.Header{"Content-Encoding": {c.label}}, Body: c.body})
		resp, err := s.Do(t.Context(), c.r, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.HasPrefix(c.want, string(got)) || name != "what breaks off" && string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if kept := resp.Header.Get("Content-Encoding") != ""; kept != (c.label == "aws-chunked" || name == "a blob") || !kept && c.label != "" && resp.ContentLength != -1 {
			t.Errorf("%s: the label %q is kept, length %d", name, resp.Header.Get("Content-Encoding"), resp.ContentLength)
		}
	}
}

// A token, and a token service's no, are read though they are compressed and nobody asked for
// that.
func TestATokenServiceThatCompresses(t *testing.T) {
	for name, c := range map[string]struct {
		said   string
		status int
		body   string
		is     error
	}{
		"a token":            {"gzip", 200, trial.Gzip(`{"token":"t"}`), nil},
		"a token, as x-gzip": {"x-gzip", 200, trial.Gzip(`{"token":"t"}`), nil},
		"a token that only is said to be compressed": {"gzip", 200, `{"token":"t"}`, nil},
		"a no":                {"gzip", 404, trial.Gzip(`{"errors":[{"code":"NAME_UNKNOWN"}]}`), ErrNotGranted},
		"a token that is cut": {"gzip", 200, trial.Gzip(`{"token":"t"}`)[:20], &Error{Code: CodeUnavailable}},
	} {
		g := newGuarded(t)
		g.token = func(w http.ResponseWriter, r *http.Request) {
			if asked := r.Header.Get("Accept-Encoding"); asked != "identity" {
				t.Errorf("%s: it is asked for %q", name, asked)
			}
			w.Header().Set("Content-Encoding", c.said)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}
		got, err := status(t, newSource(t, SourceConfig{URL: g.URL}), "p/a")
		if c.is == nil && got != http.StatusOK || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}
