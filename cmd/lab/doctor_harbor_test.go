package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// front stands before a server and changes its answers.
func front(t *testing.T, target string, change func(*http.Response)) http.Handler {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(resp *http.Response) error {
			change(resp)
			return nil
		},
	}
}

func serve(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// rewritten has something in place of something else in the bodies of one path.
func rewritten(path, before, after string) func(*http.Response) {
	return func(resp *http.Response) {
		if resp.Request.URL.Path != path {
			return
		}
		body, _ := io.ReadAll(resp.Body)
		body = bytes.Replace(body, []byte(before), []byte(after), 1)
		resp.Body = io.NopCloser(bytes.NewReader(body))
		resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
}

// late is a clock that is a minute behind.
func late(resp *http.Response) {
	resp.Header.Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
}

// nobody is an address where connections are refused.
func nobody(t *testing.T) string {
	server := httptest.NewServer(nil)
	server.Close()
	return server.URL
}

// changed is a Harbor whose answers are changed.
func changed(change func(*http.Response)) func(t *testing.T, p *patient) string {
	return func(t *testing.T, p *patient) string {
		return p.harbor(t, serve(t, front(t, p.Datacenters[0].Harbor, change)))
	}
}

// faulty is a Harbor with one of its faults switched on.
func faulty(faults string) func(t *testing.T, p *patient) string {
	return func(t *testing.T, p *patient) string {
		fault(t, p.Datacenters[0].Faults, faults)
		return p.fleet
	}
}

// makeReader makes the robot "reader" at Harbor, which may pull and nothing else.
func (p *patient) makeReader(t *testing.T) (secret string) {
	t.Helper()
	const robot = `{"name":"reader","level":"system","duration":-1,"permissions":[{"kind":"project","namespace":"*","access":[{"resource":"repository","action":"pull"}]}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Datacenters[0].Harbor+"/api/v2.0/robots", strings.NewReader(robot))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(p.Admin.Username, p.Admin.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var made struct{ Name, Secret string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || made.Name != "robot$reader" {
		t.Fatalf("%s: %v, %v", resp.Status, made.Name, err)
	}
	return made.Secret
}

var harborTroubles = []trouble{
	{name: "Harbor's name does not resolve", id: "harbor.unresolved", do: func(t *testing.T, p *patient) string { return p.harbor(t, "http://harbor.invalid") }},
	{name: "Harbor refuses connections", id: "harbor.refused", do: func(t *testing.T, p *patient) string { return p.harbor(t, nobody(t)) }},
	{name: "Harbor hangs", id: "harbor.silent", do: faulty(`[{"name":"hang"}]`)},
	{name: "a page of HTML in place of Harbor", id: "harbor.other", do: faulty(`[{"name":"html"}]`)},
	{name: "Harbor's core is away", id: "harbor.unhealthy", do: faulty(`[{"name":"core-down"}]`)},
	{name: "a component of Harbor is not healthy", id: "harbor.unhealthy", do: changed(rewritten("/api/v2.0/health", `"name":"database","status":"healthy"`, `"name":"database","status":"unhealthy"`))},
	{name: "Harbor is too old", id: "harbor.version", do: changed(rewritten("/api/v2.0/systeminfo", "v2.15.2", "v2.5.6"))},
	{name: "Harbor is of another time", id: "harbor.version", warn: true, do: changed(rewritten("/api/v2.0/systeminfo", "v2.15.2", "v3.0.0"))},
	{name: "Harbor has another external_url", id: "harbor.external-url", warn: true, do: changed(rewritten("/api/v2.0/systeminfo", "//"+domain, "//registry.example.net"))},
	{name: "Harbor's clock is wrong", id: "harbor.clock", do: changed(late)},
	{name: "Harbor's realm is elsewhere", id: "harbor.realm", do: changed(func(resp *http.Response) {
		if c := resp.Header.Get("Www-Authenticate"); strings.HasPrefix(c, "Bearer ") {
			resp.Header.Set("Www-Authenticate", `Bearer realm="https://tokens.example.net/service/token",service="harbor-registry"`)
		}
	})},
	{name: "Harbor's certificate is nobody's", id: "harbor.certificate", do: func(t *testing.T, p *patient) string {
		server := httptest.NewTLSServer(front(t, p.Datacenters[0].Harbor, func(*http.Response) {}))
		t.Cleanup(server.Close)
		return p.harbor(t, server.URL)
	}},
	{name: "Harbor speaks no TLS", id: "harbor.scheme", do: func(t *testing.T, p *patient) string {
		return p.harbor(t, strings.Replace(p.Datacenters[0].Harbor, "http:", "https:", 1))
	}},
	{name: "Harbor speaks TLS", id: "harbor.scheme", do: func(t *testing.T, p *patient) string {
		server := httptest.NewTLSServer(front(t, p.Datacenters[0].Harbor, func(*http.Response) {}))
		t.Cleanup(server.Close)
		return p.harbor(t, strings.Replace(server.URL, "https:", "http:", 1))
	}},
	{name: "Harbor redirects", id: "harbor.redirect", do: func(t *testing.T, p *patient) string {
		return p.harbor(t, serve(t, http.RedirectHandler("https://harbor.example.net/", http.StatusMovedPermanently)))
	}},
	{name: "the robot's secret is another one", id: "robot.login", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.dir+"/edge-secret", put(t, "Wrong1Secret2"))
	}},
	{name: "the robot has another prefix", id: "robot.login", do: func(t *testing.T, p *patient) string {
		return p.with(t, "harbor: { username:", `harbor: { robot_prefix: "bot-", username:`)
	}},
	{name: "the robot may not push", id: "robot.permissions", do: func(t *testing.T, p *patient) string {
		return p.with(t, "name: "+edgeRobot+", secret", "name: reader, secret", p.dir+"/edge-secret", put(t, p.makeReader(t)))
	}},
	{name: "a project is not there yet", id: "robot.permissions", do: func(t *testing.T, p *patient) string {
		return p.with(t, "  cache:\n", "  cache:\n    quay.io: { endpoint: \"http://"+strings.TrimPrefix(p.Upstreams[0].URL, "http://")+"\" }\n")
	}},
	{name: "tokens are signed with another key", id: "tokens.other-key", do: func(t *testing.T, p *patient) string {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return p.with(t, p.dir+"/harbor-token.pem", put(t, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))))
	}},
	{name: "the administrator's password is wrong", id: "administrator.login", do: func(t *testing.T, p *patient) string {
		return p.with(t, p.dir+"/harbor-password", put(t, "Wrong1Password"))
	}},
	{name: "there is no administrator", id: "administrator.missing", warn: true, do: func(t *testing.T, p *patient) string {
		return p.with(t, `username: admin, password: "file:`+p.dir+`/harbor-password", `, "")
	}},
	{name: "the administrator is none", id: "administrator.not-administrator", warn: true, do: func(t *testing.T, p *patient) string {
		return p.with(t, "username: admin,", `username: "robot$multi-dc-demo+readonly",`, p.dir+"/harbor-password", p.dir+"/readonly-secret")
	}},
}
