package source_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// The connections to a source that is found down may be dead: none is kept for the
// first request after it.
func TestASourceThatIsDownKeepsNoIdleConnections(t *testing.T) {
	var down atomic.Bool
	var open atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	defer srv.Close()
	r, err := registry.NewSource(registry.SourceConfig{URL: srv.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := source.New(ctx, source.Config{Name: "harbor", Registry: r})
	if _, err := ask(t, s); err != nil {
		t.Fatal(err)
	}
	if open.Load() == 0 {
		t.Fatal("no connection is kept while it is up")
	}
	down.Store(true)
	s.Suspect()
	trial.Until(t, func() error {
		if s.Usable() || open.Load() > 0 {
			return errors.New("it is usable, or connections to it are kept")
		}
		return nil
	})
}
