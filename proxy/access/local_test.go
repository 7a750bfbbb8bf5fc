package access_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// bubble makes a Checker whose registry is a function: within synctest there are no sockets.
func bubble(t *testing.T, answer func(*http.Request) (*http.Response, error), change func(*access.Config)) *access.Checker {
	t.Helper()
	harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://harbor", Username: "edge", Password: secret,
		Wrap: func(http.RoundTripper) http.RoundTripper { return roundTrip(answer) }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := access.Config{Harbor: harbor}
	if change != nil {
		change(&cfg)
	}
	check, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

func says(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

// nobody asks for a pull without credentials.
var nobody = access.Query{Repos: []string{"a/x"}, Action: "pull", BaseURL: "https://registry.example.org"}

// Only a registry that answers the API's root to everybody, as the API's root is answered, is
// open; where tokens are verified here, none is. Where it does not say, a Harbor is behind the edge.
func TestWhichRegistryAsksNobody(t *testing.T) {
	const json = "application/json"
	for name, c := range map[string]struct {
		status            int
		contentType, body string
		certificates      bool
		want              int
	}{
		"an open one":                   {status: 200, contentType: json, body: "{}", want: 200},
		"an open one that says nothing": {status: 200, contentType: json, want: 200},
		"one of Harbor":                 {status: 401, contentType: json, body: `{"errors":[{"code":"UNAUTHORIZED"}]}`, want: 401},
		"a forbidden one":               {status: 403, want: 401},
		"a login page":                  {status: 200, contentType: "text/html", body: "<html>", want: 401},
		"a page that looks so":          {status: 200, contentType: "text/html", body: "{}", want: 401},
		"JSON that is none":             {status: 200, contentType: json, body: "<html>", want: 401},
		"JSON of something else":        {status: 200, contentType: json, body: "[]", want: 401},
		"nothing":                       {status: 204, want: 401},
		"a redirect to a login":         {status: 302, want: 401},
		"an ingress":                    {status: 404, want: 401},
		"one that is ill":               {status: 500, contentType: json, body: "{}", want: 401},
		"one behind certificates, which Harbor alone has": {status: 200, contentType: json, body: "{}", certificates: true, want: 401},
	} {
		var asked atomic.Int64
		check := before(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", json)
			if r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/a/x/blobs/") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			asked.Add(1)
			if r.URL.Path != "/v2/" || r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
				t.Errorf("%s: it is asked %s %s as %q", name, r.Method, r.URL.Path, r.Header.Get("Authorization"))
			}
			w.Header().Set("Content-Type", c.contentType)
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.WriteHeader(c.status)
			io.WriteString(w, c.body) //nolint:errcheck // the client has gone
		}, func(cfg *access.Config) {
			if c.certificates {
				cfg.Verifier = &registry.Verifier{}
			}
		})
		for range 3 {
			who, err := check.Allow(t.Context(), nobody)
			if statusOf(err) != c.want || who != "" {
				t.Errorf("%s: %d (%v), by %q", name, statusOf(err), err, who)
			}
			var e *registry.Error
			if errors.As(err, &e) && !strings.Contains(e.Challenge, `realm="https://registry.example.org/service/token",service="harbor-registry"`) {
				t.Errorf("%s: %s", name, e.Challenge)
			}
		}
		if n := asked.Load(); (n == 1) == c.certificates {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

// A registry is asked again whether it is open, beside the requests: after a minute where it
// was, after ten where it was not, after five seconds where it did not say; what it said
// last holds until it says something else.
func TestWhetherARegistryIsOpenIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status, asked atomic.Int64
		check := bubble(t, func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != "/v2/" {
				return says(http.StatusNotFound, ""), nil
			}
			asked.Add(1)
			if status.Load() == 0 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return says(int(status.Load()), "{}"), nil
		}, nil)
		for i, step := range []struct {
			after      time.Duration
			says, want int // 0: it hangs
			asked      bool
			waits      time.Duration // for the answer
		}{
			{0, 0, 401, true, 2 * time.Second},
			{4 * time.Second, 200, 401, false, 0},
			{time.Second, 200, 200, true, 0}, // it has never said it: that is waited for
			{59 * time.Second, 401, 200, false, 0},
			{time.Second, 401, 200, true, 0}, // this one goes by what was known
			{0, 200, 401, false, 0},
			{9*time.Minute + 59*time.Second, 200, 401, false, 0},
			{time.Second, 200, 401, true, 0},
			{0, 200, 200, false, 0},
			{time.Minute, 0, 200, true, 0},         // it hangs: nobody waits
			{time.Second, 200, 200, false, 0},      // one question at a time
			{time.Second, 500, 200, false, 0},      // given up now
			{5 * time.Second, 500, 200, true, 0},   // open it stays, while it does not say
			{5 * time.Second, 403, 200, true, 0},   //
			{time.Hour, 200, 401, true, 0},         //
			{10 * time.Second, 200, 200, false, 0}, //
		} {
			time.Sleep(step.after)
			synctest.Wait()
			status.Store(int64(step.says))
			before, began := asked.Load(), time.Now()
			_, err := check.Allow(t.Context(), nobody)
			if waited := time.Since(began); statusOf(err) != step.want || waited != step.waits {
				t.Errorf("step %d: %d after %v, want %d after %v", i, statusOf(err), waited, step.want, step.waits)
			}
			synctest.Wait()
			if n := asked.Load() - before; (n == 1) != step.asked || n > 1 {
				t.Errorf("step %d: it was asked %d times", i, n)
			}
		}
	})
}
