package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// behind starts an edge before a server of the test's own.
func behind(t *testing.T, harbor http.HandlerFunc) *site {
	t.Helper()
	srv := httptest.NewServer(harbor)
	t.Cleanup(srv.Close)
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	return &site{edge: startEdge(t, srv.URL, t.TempDir(), &key.PublicKey)}
}

// What is Harbor's beside the registry passes as it is: redirects to an identity
// provider, cookies, what the client is called, and bodies as they come.
func TestThePortalPasses(t *testing.T) {
	next := make(chan struct{})
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/c/oidc/login":
			w.Header().Set("Location", "https://keycloak.example.org/auth?redirect_uri=https://harbor.example.org/c/oidc/callback")
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "a", Path: "/", HttpOnly: true})
			w.WriteHeader(http.StatusFound)
		case "/c/own":
			w.Header().Set("Location", "http://"+r.Host+"/harbor/projects")
			w.WriteHeader(http.StatusFound)
		case "/api/v2.0/stream":
			fmt.Fprint(w, "first")
			w.(http.Flusher).Flush()
			<-next
			fmt.Fprint(w, " second")
		default:
			cookie, _ := r.Cookie("sid")
			fmt.Fprintf(w, "%s %s %s %v", r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-For"), cookie)
		}
	})
	login := s.do(t, http.MethodGet, "/c/oidc/login", nil)
	if login.status != http.StatusFound || !strings.HasPrefix(login.header.Get("Location"), "https://keycloak.example.org/auth?redirect_uri=https://harbor.example.org/") || login.header.Get("Set-Cookie") != "sid=a; Path=/; HttpOnly" {
		t.Errorf("%d %v", login.status, login.header)
	}
	if own := s.do(t, http.MethodGet, "/c/own", nil); own.header.Get("Location") != s.edge.URL+"/harbor/projects" {
		t.Error(own.header.Get("Location"))
	}
	host := s.edge.Listener.Addr().String()
	if a := s.do(t, http.MethodGet, "/api/v2.0/users/current", map[string]string{"Cookie": "sid=b"}); string(a.body) != "http "+host+" 127.0.0.1 sid=b" {
		t.Errorf("%s", a.body)
	}
	resp, err := http.Get(s.edge.URL + "/api/v2.0/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("first"))
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	close(next) // what Harbor had sent has come before it sent more
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != " second" {
		t.Errorf("%q, %v", rest, err)
	}
}

// Harbor's nginx puts a slash behind a path by a redirect to its own scheme and port: a
// client of an edge with TLS stays at the address that it used.
func TestARedirectStaysAtTheEdge(t *testing.T) {
	r := newRegion(t)
	edge := httptest.NewTLSServer(r.sites[0].edge.Config.Handler)
	t.Cleanup(edge.Close)
	client := edge.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, path := range []string{"/v2", "/c", "/api", "/service", "/api?x=1"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, edge.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("admin", "Harbor12345")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		before, query, has := strings.Cut(path, "?")
		want := edge.URL + before + "/"
		if has {
			want += "?" + query
		}
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusMovedPermanently || got != want {
			t.Errorf("%s: %s to %s, want %s", path, resp.Status, got, want)
		}
	}
}

// A WebSocket goes through, both ways.
func TestAnUpgradePasses(t *testing.T) {
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("Upgrade %q", r.Header.Get("Upgrade"))
		}
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, _ := both.ReadString('\n')
		fmt.Fprint(conn, "heard "+line)
	})
	conn, err := net.Dial("tcp", s.edge.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
	fmt.Fprint(conn, "GET /api/v2.0/socket HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "heard hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// A manifest of nothing but brackets, or with a million fields, costs no more than
// its bytes, and is no manifest.
func TestJSONBombs(t *testing.T) {
	bombs := map[string]string{
		"brackets": `{"schemaVersion":2,"layers":` + strings.Repeat("[", 3<<20) + `}`,
		"fields":   `{"schemaVersion":2,"config":{` + strings.Repeat(`"a":1,`, 500_000) + `"a":1},"layers":[]}`,
		"layers":   `{"schemaVersion":2,"layers":[` + strings.Repeat(`{},`, 1_000_000) + `{}]}`,
	}
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, name, _ := strings.Cut(r.URL.Path, "/manifests/")
		if body, ok := bombs[name]; ok {
			io.WriteString(w, body) //nolint:errcheck // the edge may have had enough
		}
	})
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	h := (&hostile{region: &region{sites: []*site{s}}, key: key}).forged(t, jwt.SigningMethodRS256, key, nil)
	for name := range bombs {
		a := s.do(t, http.MethodGet, "/v2/"+theirs+"/manifests/"+name, h)
		if a.status != http.StatusServiceUnavailable && a.status != http.StatusOK && a.status != http.StatusNotFound || len(a.body) > 4<<20 {
			t.Errorf("%s: %d, %d bytes", name, a.status, len(a.body))
		}
		if b := s.do(t, http.MethodGet, "/healthz", nil); b.status != http.StatusOK {
			t.Errorf("after %s: %d", name, b.status)
		}
	}
}

// Who is disabled in Harbor is refused a quarter of a minute later, though what was
// remembered of him and a token of his are still there.
func TestARobotThatIsDisabled(t *testing.T) {
	r, pass := outageClock(t)
	s := r.sites[0]
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", image(t, 1000, 1), s.admin())
	basicAuth := map[string]string{"Authorization": basicHeader(reader, secret)}
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), basicAuth); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
	if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusOK {
		t.Fatal(status)
	}
	for _, site := range r.sites {
		if err := site.harbor.DisableRobot(reader); err != nil {
			t.Fatal(err)
		}
	}
	pass(15 * time.Second)
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), basicAuth); a.status != http.StatusUnauthorized {
		t.Errorf("Basic: %d", a.status)
	}
	_, token := s.askToken(t, reader, secret, pullApp)
	if a := s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), bearer(token)); a.status != http.StatusUnauthorized {
		t.Errorf("with a new token: %d", a.status)
	}
	r.everywhere(t, lab.Fault{Name: "down"})
	if status, _ := s.askToken(t, reader, secret, pullApp); status != http.StatusServiceUnavailable {
		t.Errorf("an outage token: %d", status)
	}
}
