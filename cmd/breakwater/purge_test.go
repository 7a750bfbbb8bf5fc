package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/store"
	"example.org/breakwater/registry"
)

func purge(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := purgeCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestPurgeRemovesABlobFromTheEdgeOfThisMachine(t *testing.T) {
	blobs, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	content := []byte("a layer")
	d := digest.FromBytes(content)
	if err := blobs.Put(d, content); err != nil {
		t.Fatal(err)
	}
	harbor, err := registry.NewSource(registry.SourceConfig{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	proxy.New(t.Context(), proxy.Config{Settings: proxy.Settings{Harbor: harbor}, Store: blobs, Log: slog.New(slog.DiscardHandler)}).Admin(mux)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: daemon.Named(daemon.Edge, mux)}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	defer server.Close()
	address := listener.Addr().String()
	for _, want := range []string{"is removed from this edge", "was not in this edge"} {
		if out, err := purge(t, "--admin", address, d.String()); err != nil || !strings.Contains(out, want) {
			t.Errorf("want %q: %q, %v", want, out, err)
		}
		if r, err := blobs.Get(t.Context(), d); err == nil {
			r.Close()
			t.Error("it is still there")
		}
	}
	if out, err := purge(t, "--admin", address, "--json", d.String()); err != nil || out != `{"format":1,"digest":"`+d.String()+`","purged":false}`+"\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := purge(t, "--admin", address, "sha256:short"); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Error(err)
	}
	if _, err := purge(t, "--admin", address, "--fleet", d.String()); err == nil || !strings.Contains(err.Error(), "knows no other edges") {
		t.Error(err)
	}
	server.Close()
	if _, err := purge(t, "--admin", address, d.String()); err == nil || !strings.Contains(err.Error(), "no edge answers on "+address) {
		t.Error(err)
	}
}
