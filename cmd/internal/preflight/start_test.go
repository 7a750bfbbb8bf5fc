package preflight

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/trial"
)

type lines struct {
	sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.Lock()
	defer l.Unlock()
	return strings.Count(l.text.String(), part)
}

// A daemon that runs says once what is wrong, by the fleet file of then, and that it is mended.
func TestADaemonLooksAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	read := func() (*fleet.Fleet, error) {
		return fleet.Load("fleet.yaml", fmt.Appendf(nil, "domain: h.example.org\ndatacenters: { par1: { harbor: \"http://127.0.0.1:1\" } }\nharbor: { ca: %q }\nedge: { plain_http: true, store: { path: %q, size: 900TiB } }\n", file, t.TempDir()))
	}
	f, err := read()
	if err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	w := Watch(t.Context(), Config{Fleet: f, Datacenter: "par1", For: []Part{Edge}, again: 10 * time.Millisecond}, read, slog.New(slog.NewTextHandler(log, nil)))
	has := func(id string) bool {
		for _, f := range w.Findings() {
			if f.ID == id {
				return true
			}
		}
		return false
	}
	if w.Wait(t.Context()); !has("files.unreadable") || log.count("id=files.unreadable") != 1 {
		t.Fatalf("%v, and the log:\n%s", w.Findings(), &log.text)
	}
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	trial.Until(t, func() error {
		if has("files.unreadable") || !has("files.broken") {
			return errors.New("the file that is there now is not looked at")
		}
		return nil
	})
	if !has("store.room") || log.count("id=store.room") != 1 {
		t.Errorf("what is looked at once is forgotten, or said again: %v", w.Findings())
	}
	if said, mended := log.count("id=files.broken"), log.count("it is mended"); said != 1 || mended != 1 || log.count("id=harbor.refused") != 1 {
		t.Errorf("said %d times, mended %d times:\n%s", said, mended, &log.text)
	}
}
