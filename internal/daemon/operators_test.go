package daemon_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.org/breakwater/internal/daemon"
)

// What a web page can have a browser send is refused on an admin listener; what programs and people
// send is not.
func TestAWebPageDoesNotSpeakToOperatorsListeners(t *testing.T) {
	reached := 0
	h := daemon.ForOperators("edge.par1.example.org:9091", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	s := httptest.NewServer(h)
	defer s.Close()
	for _, c := range []struct {
		method, host string
		header       map[string]string
		status       int
	}{
		{"POST", "127.0.0.1:9091", nil, 200},
		{"POST", "[::1]:9091", nil, 200},
		{"POST", "localhost:9091", nil, 200},
		{"PUT", "edge-0:9091", nil, 200},
		{"GET", "EDGE.par1.example.org:9091", nil, 200},
		{"POST", "127.0.0.1:9091", map[string]string{"Origin": "http://127.0.0.1:9091", "Sec-Fetch-Site": "same-origin"}, 200},
		{"POST", "127.0.0.1:9091", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", "127.0.0.1:9091", map[string]string{"Origin": "http://127.0.0.1:8000"}, 403},
		{"DELETE", "localhost:9091", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"GET", "evil.example:9091", nil, 421},
		{"GET", "evil.example.:9091", nil, 421},
		{"GET", "127.0.0.1.evil.example", nil, 421},
		{"POST", "evil.example:9091", map[string]string{"Origin": "http://evil.example:9091", "Sec-Fetch-Site": "same-origin"}, 421},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		for k, v := range c.header {
			req.Header.Set(k, v)
		}
		before := reached
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status || (reached > before) != (c.status == 200) {
			t.Errorf("%s of %s with %v: %s", c.method, c.host, c.header, resp.Status)
		}
	}
}
