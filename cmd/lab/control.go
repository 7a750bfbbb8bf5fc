package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// controlName is the socket of a lab in its directory, which is nobody else's: who can use
// it can also stop the lab.
const controlName = "control.sock"

// dirPattern is what the lab's directories below the system's temporary one are called.
const dirPattern = "breakwater-lab-*"

// status is what a lab says of itself.
type status struct {
	Lab        report     `json:"lab"`
	Conditions conditions `json:"conditions"`
}

func listenControl(dir string) (net.Listener, error) {
	l, err := net.Listen("unix", filepath.Join(dir, controlName))
	if err != nil {
		return nil, fmt.Errorf("listen for the lab's commands: %w", err)
	}
	return l, nil
}

// serveControl takes commands until ctx ends.
func (l *running) serveControl(ctx context.Context) error {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter) {
		l.mu.Lock()
		defer l.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(status{l.report, l.conditions}) //nolint:errcheck // the client is gone
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("POST /do", func(w http.ResponseWriter, r *http.Request) {
		var words []string
		err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&words)
		if err == nil {
			err = l.do(words)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l.control) }()
	<-ctx.Done()
	err := server.Shutdown(context.Background()) // a command that runs is finished: it may be starting an edge
	<-ended
	return err
}

// client talks to a lab that runs.
type client struct{ http http.Client }

func errNoLab() error { return fmt.Errorf("no lab is running: start one with %s", self()) }

// findLab finds the lab in the directory, or the only one that runs on this machine.
func findLab(ctx context.Context, dir string) (*client, status, error) {
	dirs := []string{dir}
	if dir == "" {
		var err error
		if dirs, err = filepath.Glob(filepath.Join(os.TempDir(), dirPattern)); err != nil {
			return nil, status{}, err
		}
	}
	type lab struct {
		client *client
		status status
	}
	var found []lab
	var names []string
	for _, dir := range dirs {
		c := &client{http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, controlName))
		}}}}
		if s, err := c.ask(ctx, http.MethodGet, "/status", nil); err == nil { // what a lab left behind that was killed does not answer
			found, names = append(found, lab{c, s}), append(names, dir)
		}
	}
	switch {
	case len(found) == 0 && dir != "":
		return nil, status{}, fmt.Errorf("no lab is running in %s: its directory is what %s --json prints as dir", dir, self())
	case len(found) == 0:
		return nil, status{}, errNoLab()
	case len(found) > 1:
		return nil, status{}, fmt.Errorf("%d labs are running: say which with --lab, one of %s", len(found), strings.Join(names, ", "))
	}
	return found[0].client, found[0].status, nil
}

// do has the lab do something, and returns what is broken then.
func (c *client) do(ctx context.Context, words ...string) (status, error) {
	body, err := json.Marshal(words)
	if err != nil {
		return status{}, err
	}
	return c.ask(ctx, http.MethodPost, "/do", body)
}

func (c *client) ask(ctx context.Context, method, path string, body []byte) (s status, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, bytes.NewReader(body))
	if err != nil {
		return s, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return s, errors.New(strings.TrimSpace(string(text)))
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}
