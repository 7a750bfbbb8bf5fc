package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
)

// What is long comes and goes over HTTP/1.1, where the host speaks that; questions share HTTP/2.
func TestWhatIsLongGoesOverHTTP1(t *testing.T) {
	for _, c := range []struct {
		name       string
		speaks     []string
		bulk, rest int // the version that each goes by
	}{
		{"both", []string{"h2", "http/1.1"}, 1, 2},
		{"HTTP/1.1", []string{"http/1.1"}, 1, 1},
		{"HTTP/2", []string{"h2"}, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := httptest.NewTLSServer(nil)
			defer keys.Close()
			config := &tls.Config{Certificates: keys.TLS.Certificates}
			trial.Speak(config, c.speaks...)
			listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				w.Header().Set("Read", strconv.FormatInt(n, 10))
			})}
			go srv.Serve(listener) //nolint:errcheck // until it is closed
			defer srv.Close()
			url := "https://" + listener.Addr().String()
			roots := x509.NewCertPool()
			roots.AddCert(keys.Certificate())
			s, err := NewSource(SourceConfig{URL: url, TLS: &tls.Config{RootCAs: roots}, Trusted: true})
			if err != nil {
				t.Fatal(err)
			}
			for kind, want := range map[Kind]int{KindBlob: c.bulk, KindManifest: c.rest, KindTags: c.rest} {
				resp, err := s.Do(t.Context(), Request{Method: http.MethodGet, Kind: kind, Repo: "a/b", Digest: digest.FromString("x")}, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.ProtoMajor != want {
					t.Errorf("%s comes over HTTP/%d, want %d", kind, resp.ProtoMajor, want)
				}
			}
			passed := httptest.NewRequest(http.MethodGet, url+"/v2/a/b/blobs/"+digest.FromString("x").String(), nil)
			resp, err := s.Transport().RoundTrip(passed)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.ProtoMajor != c.bulk {
				t.Errorf("a blob that is passed on comes over HTTP/%d, want %d", resp.ProtoMajor, c.bulk)
			}
			for size, want := range map[int]int{100: c.rest, aLot: c.bulk} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/", bytes.NewReader(make([]byte, size)))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := s.Transport().RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if read := resp.Header.Get("Read"); read != strconv.Itoa(size) {
					t.Errorf("of %d bytes %s came", size, read)
				}
				if resp.ProtoMajor != want {
					t.Errorf("%d bytes go over HTTP/%d, want %d", size, resp.ProtoMajor, want)
				}
			}
		})
	}
}

// TestDownloadsHoldNoUpload has as many bodies on their way as a host gets connections for: an
// upload goes all the same, and so does a question.
func TestDownloadsHoldNoUpload(t *testing.T) {
	open := make(chan struct{}, bulkPerHost)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // the answer tells
			return
		}
		w.(http.Flusher).Flush()
		open <- struct{}{}
		<-r.Context().Done()
	}))
	defer srv.Close()
	s, err := NewSource(SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range bulkPerHost {
		go func() {
			if resp, err := s.Do(ctx, Request{Method: http.MethodGet, Kind: KindBlob, Repo: "a/b", Digest: digest.FromString("x")}, nil); err == nil {
				defer resp.Body.Close()
				io.Copy(io.Discard, resp.Body) //nolint:errcheck // until the test ends
			}
		}()
	}
	for range bulkPerHost {
		<-open
	}
	for _, size := range []int{100, aLot} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.URL, bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}
