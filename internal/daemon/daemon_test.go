package daemon_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/breakwater/internal/daemon"
)

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	l, err := daemon.Listen("test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	draining, inFlight := make(chan struct{}), make(chan struct{})
	d := &daemon.Daemon{Log: slog.New(slog.DiscardHandler), Drain: func() { close(draining) }}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inFlight)
		<-draining
		io.WriteString(w, "finished")
	})
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, daemon.Server{Name: "public", Listener: l, Handler: handler}) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-inFlight
	stop()
	if got := <-answer; got != "finished" {
		t.Error(got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + l.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

func TestAPortThatIsTakenIsASentence(t *testing.T) {
	l, err := daemon.Listen("first", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = daemon.Listen("edge", l.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "listen for the edge on "+l.Addr().String()) || !strings.Contains(err.Error(), "choose another") {
		t.Error(err)
	}
}

// writePair writes a self-signed certificate for localhost with the serial number.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func TestCertificateIsReadAgainAndABrokenOneIsNot(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	var log bytes.Buffer
	if _, err := daemon.LoadCertificate(cert, key, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("a certificate that is not there was loaded")
	}
	writePair(t, cert, key, 1)
	c, err := daemon.LoadCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.Now = func() time.Time { return now }
	serial := func() int64 {
		now = now.Add(time.Minute)
		served, err := c.Config().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(served.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	touch := func() {
		if err := os.Chtimes(cert, now, now); err != nil {
			t.Fatal(err)
		}
	}
	if serial() != 1 {
		t.Error("not the first")
	}
	writePair(t, cert, key, 2)
	touch()
	if serial() != 2 {
		t.Error("not the second")
	}
	if left := time.Until(c.Expires()); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it ends in %v, want an hour", left)
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch()
	if serial() != 2 || !strings.Contains(log.String(), "last good") {
		t.Errorf("the last good one was not kept: %s", &log)
	}
}

func TestMetricsAndAdmin(t *testing.T) {
	ready := errors.New("not yet")
	m := daemon.Metrics(prometheus.NewRegistry(), func() error { return ready })
	get := func(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	if w := get(m, "GET", "/readyz", ""); w.Code != 503 {
		t.Errorf("/readyz: %d", w.Code)
	}
	ready = nil
	if w := get(m, "GET", "/readyz", ""); w.Code != 200 {
		t.Errorf("/readyz: %d", w.Code)
	}
	if w := get(m, "GET", "/metrics", ""); !strings.Contains(w.Body.String(), "go_goroutines") || !strings.Contains(w.Body.String(), "breakwater_build_info{version=\""+daemon.Version()+"\"} 1") {
		t.Errorf("/metrics: %s", w.Body)
	}
	if w := get(m, "GET", "/debug/pprof/", ""); w.Code != 404 {
		t.Error("the metrics listener shows pprof")
	}
	level := new(slog.LevelVar)
	a := daemon.Admin(level)
	if w := get(a, "PUT", "/log-level", "debug"); w.Code != 200 || level.Level() != slog.LevelDebug {
		t.Errorf("%d %v", w.Code, level.Level())
	}
	if w := get(a, "PUT", "/log-level", "loud"); w.Code != 400 || level.Level() != slog.LevelDebug {
		t.Errorf("%d %v", w.Code, level.Level())
	}
}
