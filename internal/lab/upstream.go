package lab

import (
	"net"
	"net/http"
	"os"
)

// Upstream stands in for a public registry outside the fleet: it serves
// everybody, and takes pushes so that it can be filled.
type Upstream struct {
	server
	dir string
}

// StartUpstream starts an empty registry on the listener; nil is a free port of
// 127.0.0.1. Its content lies in a temporary directory that Close removes.
func StartUpstream(listener net.Listener) (*Upstream, error) {
	dir, err := os.MkdirTemp("", "breakwater-upstream-")
	if err != nil {
		return nil, err
	}
	u := &Upstream{dir: dir}
	registry := newDistribution(dir)
	err = u.start(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { registry.ServeHTTP(w, r) }))
	if err != nil {
		os.RemoveAll(dir) //nolint:errcheck // a temporary directory
		return nil, err
	}
	return u, nil
}

// Close stops the registry and removes its content.
func (u *Upstream) Close() error {
	err := u.server.Close()
	os.RemoveAll(u.dir) //nolint:errcheck // a temporary directory
	return err
}
