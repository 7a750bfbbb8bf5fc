package wire

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// askListener asks one of an edge's listeners.
func askListener(t *testing.T, e *Edge, listener, path, user, password string) (int, string) {
	t.Helper()
	for _, s := range e.Servers {
		if s.Name != listener {
			continue
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Listener.Addr().String()+path, nil)
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	t.Fatalf("there is no listener %s", listener)
	return 0, ""
}

// The console is on the admin listener, behind a login on its own, and not on the clients'. Who
// may log in is taken while the edge runs.
func TestTheConsolesOwnListener(t *testing.T) {
	dir, harbor := t.TempDir(), startHarbor(t)
	file, users := filepath.Join(dir, "fleet.yaml"), filepath.Join(dir, "users")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("lovelace"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(users, "ada:"+string(hash)+"\n")
	config := func(users string) string {
		return fmt.Sprintf("domain: harbor.example.org\ndatacenters: { par1: { harbor: %q } }\nedge: { listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", store: { path: %q, size: 1GiB }, console: { listen: \"127.0.0.1:0\", users: %q } }\n",
			harbor.URL(), filepath.Join(dir, "store"), users)
	}
	write(file, config(users))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e, err := NewEdge(ctx, EdgeConfig{File: file, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		e.Close() //nolint:errcheck // the test is over
	}()
	get := func(listener, path, user, password string) (int, string) {
		return askListener(t, e, listener, path, user, password)
	}
	want := func(listener, path, user, password string, status int) {
		t.Helper()
		if got, text := get(listener, path, user, password); got != status || status == http.StatusOK && !strings.Contains(text, "harbor.example.org") {
			t.Errorf("%s %s as %q: %d, want %d\n%.200s", listener, path, user, got, status, text)
		}
	}
	want("admin", "/console/", "", "", http.StatusOK)
	want("console", "/", "", "", http.StatusUnauthorized)
	want("console", "/", "ada", "wrong", http.StatusUnauthorized)
	want("console", "/", "ada", "lovelace", http.StatusOK)
	if _, text := get("console", "/", "ada", "lovelace"); !strings.Contains(text, "Log out ada") {
		t.Error("there is no button that logs out")
	}
	if _, text := get("admin", "/console/", "", ""); strings.Contains(text, "Log out") {
		t.Error("who did not log in is to log out")
	}
	want("console", "/log-level", "ada", "lovelace", http.StatusNotFound)
	if status, text := get("public", "/console/", "", ""); status == http.StatusOK && strings.Contains(text, "Skip to the content") {
		t.Error("the console is on the clients' listener")
	}
	write(filepath.Join(dir, "others"), "grace:"+string(hash)+"\n")
	write(file, config(filepath.Join(dir, "others")))
	if err := e.reload(ctx); err != nil {
		t.Fatal(err)
	}
	want("console", "/", "ada", "lovelace", http.StatusUnauthorized)
	want("console", "/", "grace", "lovelace", http.StatusOK)
	write(file, config(filepath.Join(dir, "nowhere")))
	if err := e.reload(ctx); err == nil || !strings.Contains(err.Error(), "edge.console: read the users") {
		t.Errorf("users that are nowhere: %v", err)
	}
	want("console", "/", "grace", "lovelace", http.StatusOK)
}
