package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// server serves one blob by http.ServeContent, as the edge does.
func server(t *testing.T, proto string, fetch func(context.Context) (*Reader, error)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reader, err := fetch(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer reader.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", `"it"`)
		http.ServeContent(flusher{w}, r, "", time.Time{}, reader)
	}))
	switch srv.EnableHTTP2 = proto == "h2"; proto {
	case "http":
		srv.Start()
	default:
		srv.StartTLS()
	}
	t.Cleanup(srv.Close)
	return srv
}

// While a blob is arriving, requests that need no later byte are answered at once, over
// every protocol: the length, ranges, conditions.
func TestRequestsOfABlobThatIsStillArriving(t *testing.T) {
	b, d := content(1 << 20)
	for _, proto := range []string{"http", "tls", "h2"} {
		t.Run(proto, func(t *testing.T) {
			s := open(t, Config{})
			gate := make(chan struct{})
			release := sync.OnceFunc(func() { close(gate) })
			defer release()
			var calls atomic.Int64
			srv := server(t, proto, func(ctx context.Context) (*Reader, error) {
				return s.Fetch(ctx, d, gated(b, 1<<19, gate, &calls))
			})
			for _, c := range []struct {
				method, header string
				status         int
				body           []byte
				after          bool // send the rest of the blob before
			}{
				{"HEAD", "", 200, nil, false},
				{"GET", "Range: bytes=0-0", 206, b[:1], false},
				{"GET", "Range: bytes=1000-300000", 206, b[1000:300001], false},
				{"GET", "If-None-Match: \"it\"", 304, nil, false},
				{"GET", "Range: bytes=1048576-", 416, nil, false},
				{"GET", "Range: bytes=-1", 206, b[len(b)-1:], true},
				{"GET", "Range: bytes=500000-", 206, b[500000:], true},
				{"GET", "", 200, b, true},
			} {
				if c.after {
					release()
				}
				req, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				if name, value, ok := strings.Cut(c.header, ": "); ok {
					req.Header.Set(name, value)
				}
				resp, err := srv.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != c.status || err != nil || c.status < 300 && !bytes.Equal(got, c.body) {
					t.Errorf("%s %s: %s, %d bytes, %v", c.method, c.header, resp.Status, len(got), err)
				}
				if c.method == "HEAD" && resp.ContentLength != int64(len(b)) {
					t.Errorf("the length is %d", resp.ContentLength)
				}
				if major := resp.ProtoMajor; (major == 2) != (proto == "h2") {
					t.Errorf("HTTP/%d over %s", major, proto)
				}
			}
			if calls.Load() != 1 {
				t.Errorf("the source was asked %d times", calls.Load())
			}
		})
	}
}

// A client that leaves after a tenth of a cold blob does not end the fill. 31 other
// clients share it.
func TestManyClientsOfALargeColdBlob(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	b, d := content(size)
	s := open(t, Config{})
	gate := make(chan struct{})
	var calls atomic.Int64
	srv := server(t, "http", func(ctx context.Context) (*Reader, error) {
		return s.Fetch(ctx, d, gated(b, size/5, gate, &calls))
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, first.Body, int64(size/10)); err != nil {
		t.Fatal(err)
	}
	leave()
	first.Body.Close()
	var all, halfway sync.WaitGroup
	halfway.Add(31)
	for range 31 {
		all.Go(func() {
			got := sha256.New()
			resp, err := srv.Client().Get(srv.URL)
			if err == nil {
				defer resp.Body.Close()
				_, err = io.CopyN(got, resp.Body, int64(size/10)) // before the source sends the rest
			}
			halfway.Done()
			if err == nil {
				_, err = io.Copy(got, resp.Body)
			}
			if err != nil || digest.NewDigest(digest.SHA256, got) != d {
				t.Errorf("other bytes, %v", err)
			}
		})
	}
	halfway.Wait()
	close(gate)
	all.Wait()
	if calls.Load() != 1 {
		t.Errorf("the source was asked %d times", calls.Load())
	}
}
