package proxy_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// stallSite is a site whose edge is reached with TLS too, by HTTP/2, and cuts off
// who takes nothing for a moment. log is its request log.
func stallSite(t *testing.T) (s *site, secure *http.Client, secureURL string, log *lockedBuffer) {
	t.Helper()
	log = new(lockedBuffer)
	s = newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Stalled, p.Log = 50*time.Millisecond, slog.New(slog.NewJSONHandler(log, nil))
	})
	srv := httptest.NewUnstartedServer(s.edge.Config.Handler)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	return s, client, srv.URL, log
}

// A client that takes nothing of its answer for long is cut off: what it holds is
// others' too.
func TestAClientThatTakesNothing(t *testing.T) {
	s, secure, secureURL, log := stallSite(t)
	img := image(t, 24<<20, 1)
	digest, _ := layerOf(t, img)
	for _, repo := range []string{"multi-dc-demo/app", "plain/app"} {
		mustPush(t, s.harbor.URL(), repo+":v1", img, s.admin())
	}
	user, password := s.harbor.Admin()
	h := basicHeader(user, password)
	s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+digest, map[string]string{"Authorization": h}) // held from here on
	ended := func() int {
		n := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, `"method":"GET","endpoint":"blob"`) {
				n++
			}
		}
		return n
	}
	plain := new(http.Transport)
	defer plain.CloseIdleConnections()
	for _, c := range []struct {
		name, url string
		client    *http.Client
	}{
		{"held, HTTP/1", s.edge.URL + "/v2/multi-dc-demo/app/blobs/", &http.Client{Transport: plain}},
		{"held, HTTP/2", secureURL + "/v2/multi-dc-demo/app/blobs/", secure},
		{"Harbor's own, HTTP/1", s.edge.URL + "/v2/plain/app/blobs/", &http.Client{Transport: plain}},
		{"Harbor's own, HTTP/2", secureURL + "/v2/plain/app/blobs/", secure},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := ended()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+digest, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", h)
			resp, err := c.client.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(err, resp)
			}
			defer resp.Body.Close()
			waitFor(t, "the end of the request", func() bool { return ended() > before })
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Error("the answer was whole")
			}
		})
	}
}

// A client that waits for what the edge has not got itself is not one that takes nothing.
func TestAClientThatWaits(t *testing.T) {
	s, secure, secureURL, _ := stallSite(t)
	img := image(t, 40<<10, 1)
	digest, layer := layerOf(t, img)
	for _, repo := range []string{"multi-dc-demo/app", "plain/app"} {
		mustPush(t, s.harbor.URL(), repo+":v1", img, s.admin())
	}
	user, password := s.harbor.Admin()
	if err := s.harbor.SetFaults(lab.Fault{Name: "slow", Path: "GET .*/blobs/", Bytes: 80 << 10}); err != nil { // a part each 0.1 s
		t.Fatal(err)
	}
	for _, url := range []string{s.edge.URL + "/v2/plain/app/blobs/", secureURL + "/v2/plain/app/blobs/", secureURL + "/v2/multi-dc-demo/app/blobs/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+digest, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		resp, err := secure.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		same(t, url, answer{status: resp.StatusCode, body: body, err: err}, layer)
	}
}
