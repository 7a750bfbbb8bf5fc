package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
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
