package proxy_test

import (
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// An edge that has not heard of a push yet shows what replication brings to its Harbor. What
// that Harbor goes back to was brought by a replication that is late: it is not shown again.
func TestWhatALateReplicationBringsBackIsNotShown(t *testing.T) {
	var ahead atomic.Int64
	s := newRegion(t, hooked(counters{}), func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}).sites[0]
	for _, brought := range []struct{ what, text, want string }{
		{"the first", "one", "one"},
		{"a newer one", "two", "two"},
		{"the first, late", "one", "two"},
		{"a third", "three", "three"},
		{"the second, late", "two", "three"},
	} {
		s.putPast(t, "v1", brought.text)
		s.shows(t, brought.what, "v1", brought.want)
	}
	ahead.Store(int64(time.Hour)) // nobody has told of a version: Harbor was changed so
	s.shows(t, "what stays", "v1", "two")
}
