package gslb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"

	"example.org/breakwater/internal/trial"
)

const publicName = "harbor.example.org"

// company is a CA of the test's own.
type company struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

func newCompany(t *testing.T) *company {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a company"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{key: key, roots: x509.NewCertPool()}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.roots.AddCert(c.cert)
	return c
}

func (c *company) certificate(t *testing.T, name string, until time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until), DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTLS is an edge with a certificate.
func serveTLS(t *testing.T, certificate tls.Certificate, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// serveTCP does what it likes with each connection.
func serveTCP(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go do(c)
		}
	}()
	return l.Addr().String()
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const serving = `{"datacenter":"par1","serving":true,"harbor":"down","store":"ok","draining":false}`

// probed wants the sentence and the reason of a probe; "" for one that succeeds.
func probed(t *testing.T, what string, target Target, reason, sentence string) {
	t.Helper()
	target.Datacenter = "par1"
	cfg := ProbeConfig{Interval: 10 * time.Second, Timeout: trial.Patience}
	if reason == "timeout" {
		cfg.Timeout = 300 * time.Millisecond
	}
	err := newProber(target, cfg).probe(t.Context())
	if reason == "" {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	var f *failure
	if !errors.As(err, &f) || f.reason != reason || !strings.Contains(f.message, sentence) {
		t.Errorf("%s: %v, want %s: … %s …", what, err, reason, sentence)
	}
}

func TestProbesOfAnEdge(t *testing.T) {
	ours, theirs := newCompany(t), newCompany(t)
	good := ours.certificate(t, publicName, time.Hour)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // an empty answer may still come in time
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush() //nolint:errcheck // the test says what came
		<-r.Context().Done()
	}
	for what, c := range map[string]struct{ url, reason, sentence string }{
		"serving, its Harbor is down": {serveTLS(t, good, says(200, serving)), "", ""},
		"the name of the request": {serveTLS(t, good, func(w http.ResponseWriter, r *http.Request) {
			if r.Host != publicName || r.TLS.ServerName != publicName || r.URL.Path != "/breakwater/v1/health" {
				w.WriteHeader(http.StatusTeapot)
			}
			fmt.Fprint(w, serving)
		}), "", ""},
		"draining":              {serveTLS(t, good, says(503, `{"serving":false,"draining":true}`)), "body", "draining"},
		"not serving":           {serveTLS(t, good, says(503, `{"serving":false}`)), "body", "not serving"},
		"200 unhealthy":         {serveTLS(t, good, says(200, `{"status":"unhealthy"}`)), "body", "not as an edge"},
		"HTML":                  {serveTLS(t, good, says(200, "<html>")), "body", "not as an edge"},
		"an endless body":       {serveTLS(t, good, says(200, strings.Repeat(" ", 1<<20)+serving)), "body", "not as an edge"},
		"500":                   {serveTLS(t, good, says(500, serving)), "status", "500"},
		"a redirect":            {serveTLS(t, good, http.RedirectHandler("https://elsewhere.example.org/", http.StatusFound).ServeHTTP), "status", "302"},
		"hangs":                 {serveTLS(t, good, hang), "timeout", "no answer within 300ms"},
		"hangs in the body":     {serveTLS(t, good, drip), "timeout", "no answer within 300ms"},
		"another's name":        {serveTLS(t, ours.certificate(t, "edge.par1.example.org", time.Hour), says(200, serving)), "tls", "not for harbor.example.org"},
		"another's certificate": {serveTLS(t, theirs.certificate(t, publicName, time.Hour), says(200, serving)), "tls", "not trusted"},
		"expired":               {serveTLS(t, ours.certificate(t, publicName, -time.Minute), says(200, serving)), "tls", "its certificate is good from"},
		"no TLS":                {"https://" + serveTCP(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n") }), "tls", "no TLS"},
		"accepts and hangs":     {"https://" + serveTCP(t, func(net.Conn) {}), "timeout", "no answer"},
		"hangs up":              {"https://" + serveTCP(t, func(c net.Conn) { c.Close() }), "connect", "breaks the connection off"},
		"refuses":               {"https://" + refusing(t), "connect", "refuses connections"},
	} {
		probed(t, what, Target{Kind: ProbeEdge, URL: c.url, ServerName: publicName, Roots: ours.roots}, c.reason, c.sentence)
	}
}

// refusing is an address that nobody listens on.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Harbor's health is 200 whatever it says (goharbor/harbor#16406).
func TestProbesOfAHarborWithoutAnEdge(t *testing.T) {
	h, err := lab.StartHarbor(lab.HarborConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	target := Target{Kind: ProbeHarbor, URL: h.URL(), ServerName: publicName}
	probed(t, "the stand-in", target, "", "")

	component := func(down ...string) string {
		text := ""
		for _, name := range []string{"core", "database", "jobservice", "portal", "redis", "registry", "registryctl", "trivy"} {
			status := "healthy"
			for _, d := range down {
				if d == name {
					status = "unhealthy"
				}
			}
			text += fmt.Sprintf(`{"name":%q,"status":%q},`, name, status)
		}
		return `{"status":"unhealthy","components":[` + strings.TrimSuffix(text, ",") + `]}`
	}
	harbor := func(health, challenge string) string {
		mux := http.NewServeMux()
		mux.HandleFunc("/api/v2.0/health", says(200, health))
		mux.HandleFunc("/v2/", func(w http.ResponseWriter, _ *http.Request) {
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		return s.URL
	}
	realm := func(url string) string { return fmt.Sprintf(`Bearer realm="%s",service="harbor-registry"`, url) }
	own := realm("https://" + publicName + "/service/token")
	for _, c := range []struct{ what, url, reason, sentence string }{
		{"trivy is down", harbor(component("trivy"), own), "", ""},
		{"jobservice is down", harbor(component("jobservice"), own), "", ""},
		{"core is down", harbor(component("core"), own), "body", "its core is unhealthy"},
		{"the database is down", harbor(component("database"), own), "body", "its database is unhealthy"},
		{"redis is down", harbor(component("redis"), own), "body", "its redis is unhealthy"},
		{"the registry is down", harbor(component("registry"), own), "body", "its registry is unhealthy"},
		{"a component is missing", harbor(strings.Replace(component(), `"redis"`, `"valkey"`, 1), own), "body", "does not say how its redis is"},
		{"no Harbor", harbor(`{"status":"ok"}`, own), "body", "not as Harbor"},
		{"everybody is let in", harbor(component(), ""), "status", "200"},
		{"another's token service", harbor(component(), realm("https://other.example.org/service/token")), "body", "other.example.org"},
		{"its token service in other letters", harbor(component(), `bearer service="x", realm="https://`+strings.ToUpper(publicName)+`.:443/service/token"`), "", ""},
		{"its token service beside Basic", harbor(component(), `Basic realm="harbor", `+own), "", ""},
		{"no token service", harbor(component(), `Basic realm="harbor"`), "body", "token service"},
	} {
		probed(t, c.what, Target{Kind: ProbeHarbor, URL: c.url, ServerName: publicName}, c.reason, c.sentence)
	}
}

func TestOtherProbes(t *testing.T) {
	probed(t, "TCP", Target{Kind: ProbeTCP, URL: "tcp://" + serveTCP(t, func(net.Conn) {})}, "", "")
	probed(t, "TCP, refused", Target{Kind: ProbeTCP, URL: "tcp://" + refusing(t)}, "connect", "refuses")
	s := httptest.NewServer(says(204, ""))
	t.Cleanup(s.Close)
	probed(t, "HTTP", Target{Kind: ProbeHTTP, URL: s.URL + "/any"}, "", "")
	for text, c := range map[string][2]string{"up\n": {}, "up all is well": {}, "down new switches\n": {"body", "new switches"}, "": {"body", "neither"}, "Up": {"body", "neither"}} {
		file := filepath.Join(t.TempDir(), "check")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		probed(t, "a file: "+text, Target{Kind: ProbeFile, URL: "file:" + file}, c[0], c[1])
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
		probed(t, "an old file", Target{Kind: ProbeFile, URL: "file:" + file}, "timeout", "runs no longer")
	}
	probed(t, "no file", Target{Kind: ProbeFile, URL: "file:/nonexistent/check"}, "connect", "not to be read")
}

// A file whose time is in the future grows old as any other: by a clock that does not jump,
// since it was seen to change.
func TestAFileOfTheFutureGrowsOld(t *testing.T) {
	file := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(file, []byte("up"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProber(Target{Kind: ProbeFile, URL: "file:" + file}, ProbeConfig{Interval: time.Second})
	now := time.Now()
	probe := func(after time.Duration, want string) {
		t.Helper()
		now = now.Add(after)
		switch err := p.probeFile(now); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("after %v: %v, want %q", after, err, want)
		}
	}
	write := func(at time.Time) {
		t.Helper()
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(now.Add(72 * time.Hour))
	probe(0, "")
	probe(10*time.Second, "")
	probe(time.Second, "has a time in the future, and was not written for 11s: its check runs no longer")
	write(now.Add(73 * time.Hour))
	probe(time.Second, "")
	probe(11*time.Second, "was not written for 11s")
	write(now)
	probe(0, "")
	probe(11*time.Second, "was written 11s ago")
}

// What is probed while the node stops is no verdict.
func TestAProbeThatIsCutOffByTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, 8)
	address := serveTCP(t, func(net.Conn) { asked <- struct{}{} })
	h := newHealth(ProbeConfig{Interval: time.Hour, Timeout: time.Hour, Fall: 1, Rise: 1, Confirm: time.Millisecond}, []Target{{Datacenter: "par1", Kind: ProbeEdge, URL: "http://" + address}}, nil,
		silent, nil, func() { t.Error("there was a verdict") })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.run(ctx)
	}()
	<-asked
	cancel()
	<-ended
}
