// Package lab stands in for what cannot be had on one machine: a Harbor, as
// Harbor v2.15.2 was recorded to answer, and the upstream registries behind it,
// with misbehaviours that can be switched on while they run. It is for tests
// and for cmd/lab; README.md says what is recorded and what is not.
package lab

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the only driver used
	"github.com/sirupsen/logrus"
)

// server is what every stand-in is made of: a listener, a count of what it was
// asked, the faults that are on, and the lab's own end points beside the real ones.
type server struct {
	listener net.Listener
	address  string
	handler  http.Handler // with what is the lab's own
	faults   faultSet

	mu       sync.Mutex
	http     *http.Server
	requests map[string]int
	sent     map[string]int64
	active   int           // handlers that run
	ended    chan struct{} // closed when none runs after Close; nil before
}

// start serves handler on the listener; nil is a free port of 127.0.0.1.
func (s *server) start(listener net.Listener, handler http.Handler) (err error) {
	if s.listener = listener; listener == nil {
		if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	s.address = s.listener.Addr().String()
	s.requests, s.sent = map[string]int{}, map[string]int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_lab/requests", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(s.Requests()) })
	mux.HandleFunc("GET /_lab/sent", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(s.Sent()) })
	mux.HandleFunc("DELETE /_lab/requests", func(http.ResponseWriter, *http.Request) { s.ResetRequests() })
	mux.HandleFunc("GET /_lab/faults", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(s.faults.list()) })
	mux.HandleFunc("DELETE /_lab/faults", func(http.ResponseWriter, *http.Request) { s.ClearFaults() })
	mux.HandleFunc("PUT /_lab/faults", s.putFaults)
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_lab/") {
			mux.ServeHTTP(w, r)
			return
		}
		request := r.Method + " " + r.URL.Path
		s.mu.Lock()
		if s.ended != nil {
			s.mu.Unlock()
			return
		}
		s.active++
		s.requests[request]++
		s.mu.Unlock()
		defer s.leave()
		counting := &countingWriter{ResponseWriter: w, count: func(n int64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sent[request] += n
		}}
		s.faults.serve(counting, r, handler)
	})
	s.serve()
	return nil
}

// serve serves the listener, until the server that it makes is closed.
func (s *server) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = nil
	s.http = &http.Server{Handler: s.handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go s.http.Serve(s.listener) //nolint:errcheck // ends with Close
}

// resume listens again where it did before Close.
func (s *server) resume() (err error) {
	if s.listener, err = net.Listen("tcp", s.address); err != nil {
		return err
	}
	s.serve()
	return nil
}

// URL is the stand-in's address as a client writes it.
func (s *server) URL() string { return "http://" + s.address }

// leave notes that a handler has ended.
func (s *server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 && s.ended != nil {
		close(s.ended)
	}
}

// Close stops the stand-in at once, whoever is being served, and waits until what
// served them has let go of the directory.
func (s *server) Close() error {
	s.mu.Lock()
	server, again := s.http, s.ended != nil
	if !again {
		if s.ended = make(chan struct{}); s.active == 0 {
			close(s.ended)
		}
	}
	ended := s.ended
	s.mu.Unlock()
	err := server.Close()
	if again {
		return err
	}
	timer := time.NewTimer(5 * time.Second) // a handler that hangs is not waited for
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	return err
}

// Requests counts what the stand-in was asked since its start or the last
// ResetRequests, by "METHOD path" without the query.
func (s *server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

// Sent counts the bytes of the bodies that the stand-in sent since then, by
// "METHOD path" too.
func (s *server) Sent() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sent)
}

// ResetRequests begins counting anew.
func (s *server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.requests)
	clear(s.sent)
}

// countingWriter counts the bytes of a body, and does not keep the kernel from
// sending a file.
type countingWriter struct {
	http.ResponseWriter
	count func(n int64)
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.count(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (w *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.count(n)
	return n, err
}

func (s *server) putFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&faults)
	if err == nil {
		err = s.SetFaults(faults...)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// SetFaults replaces the faults that are on. An unknown name is an error.
func (s *server) SetFaults(faults ...Fault) error { return s.faults.set(faults) }

// ClearFaults makes the stand-in well again.
func (s *server) ClearFaults() { s.faults.set(nil) } //nolint:errcheck // nothing to refuse

// newDistribution returns distribution's registry over a directory, without
// authentication of its own and silent.
func newDistribution(dir string) http.Handler {
	logrus.SetOutput(io.Discard) // distribution offers no way to hand it a logger
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem":  configuration.Parameters{"rootdirectory": dir},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.HTTP.Secret = "lab"
	config.Catalog.MaxEntries = 1000
	config.Validation.Disabled = true // as in the configuration that Harbor gives its registry: nested content and foreign layers need not be there
	return handlers.NewApp(context.Background(), config)
}
