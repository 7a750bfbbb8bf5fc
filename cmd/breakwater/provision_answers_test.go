package main

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// appliedFleet is a fleet of which everything is done, and mad1's Harbor.
func appliedFleet(t *testing.T) (config, mad1 string, harbor *lab.Harbor) {
	t.Helper()
	config, harbors := provisionFleet(t)
	provisions(t, 0, "apply", "--yes", "--config", config)
	return config, harbors[1].URL(), harbors[1]
}

// rewritten changes the fleet file.
func rewritten(t *testing.T, config, old, now string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), old, now)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wants runs what reads Harbors; mad1 is not read, and nothing may be claimed of it.
func wants(t *testing.T, config string, plan, unreachableOK exitStatus, says string) {
	t.Helper()
	for _, c := range []struct {
		status exitStatus
		args   []string
	}{{plan, []string{"plan"}}, {plan, []string{"apply", "--yes"}}, {unreachableOK, []string{"apply", "--yes", "--unreachable-ok"}}, {1, []string{"verify", "--no-canary"}}} {
		text := provisions(t, c.status, append(c.args, "--config", config)...)
		if !strings.Contains(text, says) || !strings.Contains(text, "mad1") {
			t.Errorf("%v: it does not say %q:\n%s", c.args, says, text)
		}
		if c.args[0] != "verify" && (!strings.Contains(text, ", 13 not known.") || strings.Contains(text, "file says: 26 objects")) {
			t.Errorf("%v: it claims what is not known:\n%s", c.args, text)
		}
	}
}

// answering answers all the same.
func answering(status int, contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, text) //nolint:errcheck // the client is gone
	}
}

// What answers with a no, or is no Harbor, is a fault: no later run finds it mended. It is
// not away, whatever --unreachable-ok says, and no object there counts as right.
func TestWhatIsNoHarborIsNotAway(t *testing.T) {
	const page = "<!DOCTYPE html><html><title>Log in</title></html>"
	quiet := func(srv *httptest.Server) *httptest.Server {
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		return srv
	}
	config, mad1, _ := appliedFleet(t)
	target, err := url.Parse(mad1)
	if err != nil {
		t.Fatal(err)
	}
	over := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	plain := func(h http.Handler) func(t *testing.T) string {
		return func(t *testing.T) string {
			srv := httptest.NewServer(h)
			t.Cleanup(srv.Close)
			return srv.URL
		}
	}
	tls := func(scheme string) func(t *testing.T) string {
		return func(t *testing.T) string {
			srv := quiet(httptest.NewUnstartedServer(over))
			srv.StartTLS()
			t.Cleanup(srv.Close)
			return strings.Replace(srv.URL, "https", scheme, 1)
		}
	}
	for name, c := range map[string]struct {
		at   func(t *testing.T) string
		says string
	}{
		"a login page":                  {plain(answering(200, "text/html", page)), "is no Harbor, or something stands before it: it answers GET /systeminfo with 200 OK (text/html)"},
		"a login page elsewhere":        {plain(http.RedirectHandler("https://sso.example.org/login", http.StatusFound)), "redirect to https://sso.example.org"},
		"another program":               {plain(answering(200, "application/json", `{"status":"ok"}`)), "is no Harbor"},
		"a list of another":             {plain(answering(200, "application/json", `[]`)), "is no Harbor"},
		"a server without such a path":  {plain(answering(404, "text/html", page)), "is no Harbor, or something stands before it: it answers GET /systeminfo with 404 Not Found"},
		"a gate that wants a login":     {plain(answering(401, "text/plain", "no")), "401 Unauthorized"},
		"a gate that lets nobody in":    {plain(answering(403, "text/html", page)), "403 Forbidden"},
		"a server that breaks":          {plain(answering(500, "text/html", page)), "this Harbor answers 500"},
		"a limiter":                     {plain(answering(429, "text/html", page)), "this Harbor answers 429"},
		"plain HTTP where TLS is meant": {func(*testing.T) string { return strings.Replace(mad1, "http:", "https:", 1) }, "speaks no TLS: write http://"},
		"TLS where plain HTTP is meant": {tls("http"), "speaks TLS: write https://"},
		"a certificate of nobody":       {tls("https"), "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			at := c.at(t)
			rewritten(t, config, mad1, at)
			defer rewritten(t, config, at, mad1)
			wants(t, config, 1, 1, c.says)
		})
	}
}

// A Harbor of which one thing could not be read is not read, and not away either.
func TestAHarborThatSaysNoToOneThing(t *testing.T) {
	config, _, harbor := appliedFleet(t)
	for name, c := range map[string]struct {
		fault lab.Fault
		says  string
	}{
		"registries that an account may not list": {lab.Fault{Name: "403", Path: "GET /api/v2.0/registries"}, "list the registries: this Harbor answers"},
		"one list that breaks":                    {lab.Fault{Name: "500", Path: "GET /api/v2.0/replication/policies"}, "list the replications: this Harbor answers"},
		"robots that an account may not list":     {lab.Fault{Name: "403", Path: "GET /api/v2.0/robots"}, "harbor.username) may not"},
		"a page instead of a list":                {lab.Fault{Name: "html", Path: "GET /api/v2.0/quotas"}, "GET /quotas"},
		"a login that is no success":              {lab.Fault{Name: "403", Path: "POST /c/login"}, "log in: this Harbor answers 403"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := harbor.SetFaults(c.fault); err != nil {
				t.Fatal(err)
			}
			defer harbor.SetFaults() //nolint:errcheck // none is none
			wants(t, config, 1, 1, c.says)
		})
	}
}

// A list that is not whole is not read: what is missing in it may be there.
func TestAListThatIsCutShort(t *testing.T) {
	config, mad1, _ := appliedFleet(t)
	target, err := url.Parse(mad1)
	if err != nil {
		t.Fatal(err)
	}
	for name, cut := range map[string]func(body []byte) []byte{
		"in the middle": func(body []byte) []byte { return body[:len(body)/2] },
		"to nothing":    func([]byte) []byte { return nil },
		"by an entry": func(body []byte) []byte {
			var all []json.RawMessage
			if json.Unmarshal(body, &all) != nil {
				return body
			}
			text, err := json.Marshal(all[1:])
			if err != nil {
				t.Error(err)
			}
			return text
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(&httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ModifyResponse: func(resp *http.Response) error {
				if resp.Request.URL.Path == "/api/v2.0/registries" && resp.Request.Method == http.MethodGet {
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						return err
					}
					body = cut(body)
					resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
					resp.Header.Del("Content-Length")
				}
				return nil
			}})
			t.Cleanup(srv.Close)
			rewritten(t, config, mad1, srv.URL)
			defer rewritten(t, config, srv.URL, mad1)
			wants(t, config, 1, 1, "GET /registries")
		})
	}
}

// Only where nobody answers is a Harbor away.
func TestWhoeverDoesNotAnswerIsAway(t *testing.T) {
	config, mad1, _ := appliedFleet(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() //nolint:errcheck // that is what it is for
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangsUp.Close() }) //nolint:errcheck // the test is over
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			c.Close() //nolint:errcheck // that is what it is for
		}
	}()
	gateway := httptest.NewServer(answering(502, "text/html", "<html>nobody</html>"))
	t.Cleanup(gateway.Close)
	for name, at := range map[string]string{
		"a port where nobody listens": "http://" + closed.Addr().String(), "a name that is none": "http://harbor.invalid", "a balancer without a Harbor": "http://" + hangsUp.Addr().String(), "a gateway without a Harbor": gateway.URL,
	} {
		t.Run(name, func(t *testing.T) {
			rewritten(t, config, mad1, at)
			defer rewritten(t, config, at, mad1)
			wants(t, config, exitPartial, 0, "mad1")
		})
	}
}

// What a Harbor does not show an account is not as the fleet file says, for all that is known.
func TestWhatIsNotShownIsNotKnown(t *testing.T) {
	config, _, harbor := appliedFleet(t)
	if err := harbor.SetFaults(lab.Fault{Name: "403", Path: "GET /api/v2.0/configurations"}); err != nil {
		t.Fatal(err)
	}
	if text := provisions(t, 0, "plan", "--config", config); !strings.Contains(text, ", 1 not known.") || !strings.Contains(text, "mad1: configuration oidc: this account may not see it") {
		t.Error(text)
	}
	if text := provisions(t, 1, "apply", "--yes", "--unreachable-ok", "--config", config); !strings.Contains(text, "mad1: configuration oidc was left alone, as this account may not see it") {
		t.Error(text)
	}
	if text := provisions(t, 1, "verify", "--no-canary", "--config", config); !strings.Contains(text, "mad1: configuration oidc: this account may not see it") {
		t.Error(text)
	}
}

// A secret that could not be proven is not said to be.
func TestSecretsThatAreNotProven(t *testing.T) {
	config, _, harbor := appliedFleet(t)
	if text := provisions(t, 0, "plan", "--config", config); !strings.Contains(text, "As the fleet file says: 26 objects, 12 secrets proven (") {
		t.Error(text)
	}
	if err := harbor.SetFaults(lab.Fault{Name: "500", Path: "GET /service/token"}); err != nil {
		t.Fatal(err)
	}
	text := provisions(t, 0, "plan", "--config", config)
	if !strings.Contains(text, "26 objects, 9 secrets proven, 3 that could not be proven (") || !strings.Contains(text, "mad1: robot breakwater-edge, multi-dc-app+readonly, multi-dc-app+sync: its secret could not be proven") {
		t.Error(text)
	}
}
