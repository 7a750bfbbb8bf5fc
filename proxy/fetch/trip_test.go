package fetch

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
)

// The way is measured by the connection where one is made, however long the answer takes then,
// and by the answer where one was kept.
func TestTheWayIsMeasured(t *testing.T) {
	const way, thinks = 40 * time.Millisecond, 400 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/thinks" {
			<-time.After(thinks)
		}
	}))
	defer server.Close()
	relay, err := lab.StartRelay(nil, strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	relay.Set(lab.Link{Delay: way / 2})
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		path        string
		least, most time.Duration
	}{{"/thinks", 0, thinks}, {"/", way, thinks}, {"/thinks", thinks, time.Minute}} {
		var measured trip
		if measured.time() != 0 {
			t.Error("it is known before")
		}
		req, err := http.NewRequestWithContext(measured.over(t.Context()), http.MethodGet, "http://"+relay.Address()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // it has none
		resp.Body.Close()
		if took := measured.time(); took <= 0 || took < c.least || took >= c.most {
			t.Errorf("%s: %v", c.path, took)
		}
	}
}
