package warm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/warm"
	"example.org/breakwater/registry"
)

// running is a Warmer that runs, and asks resolve what images are.
func running(t *testing.T, pace time.Duration, resolve func() error) *warm.Warmer {
	t.Helper()
	w := warm.New(warm.Config{Datacenter: "par1", Now: time.Now, Pace: pace, Log: slog.New(slog.DiscardHandler), Peers: func() []*source.Source { return nil },
		Namespaces: namespace.NewTable([]namespace.Namespace{{Project: "cache-hub", Kind: namespace.Cache, DockerHub: true}}),
		Sets:       func() []warm.Set { return nil },
		Fetch:      &fetch.Fetcher{},
		Resolve: func(context.Context, fetch.Question, bool) (tags.Entry, []byte, error) {
			return tags.Entry{}, nil, resolve()
		}})
	go w.Run(t.Context())
	return w
}

// What is asked for while it is under way is looked at again, though this try fails for good.
func TestWhatIsAskedForDuringARunIsLookedAtAgain(t *testing.T) {
	for kind, want := range map[string]int{warm.Preheat: 2, warm.Operator: 2, warm.Push: 2, warm.Clock: 1} {
		asked, gate := make(chan struct{}, 10), make(chan struct{})
		w := running(t, time.Millisecond, func() error {
			asked <- struct{}{}
			<-gate
			return registry.Errorf(registry.CodeManifestUnknown, "there is no such manifest")
		})
		image := warm.Image{Repo: "cache-hub/app", Reference: "v1"}
		if _, err := w.Add(warm.Preheat, image); err != nil {
			t.Fatal(err)
		}
		<-asked
		if _, err := w.Add(kind, image); err != nil {
			t.Fatal(err)
		}
		close(gate)
		trial.Until(t, func() error {
			if w.Status().Pending > 0 {
				return errors.New("it is under way")
			}
			return nil
		})
		if got := 1 + len(asked); got != want {
			t.Errorf("%s: it was looked at %d times, want %d", kind, got, want)
		}
	}
}

// Who leads, and has failed once, says so: the next leads, and does not wait for all its tries.
func TestWhoLeadsSaysThatItFails(t *testing.T) {
	w := running(t, time.Hour, func() error { return errors.New("the upstream is down") })
	trial.Until(t, func() error {
		rec := httptest.NewRecorder()
		ask := `{"kind":"operator","image":{"repo":"cache-hub/library/app","reference":"v1"},"datacenters":["mad1","par1"],"lead":true,"age":60}`
		if err := w.ServePeer(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(ask))); err != nil {
			t.Fatal(err)
		}
		var a warm.Answer
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if a.State != "failed" || a.Error != "the upstream is down" || w.Status().Pending != 1 {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
}

// A peer that asks too much is told to come again.
func TestAFullQueueIsUnavailable(t *testing.T) {
	w := idle()
	for i := range 10_000 {
		if _, err := w.Add(warm.Clock, warm.Image{Repo: "cache-hub/app", Reference: fmt.Sprint("v", i)}); err != nil {
			t.Fatal(err)
		}
	}
	ask := `{"kind":"operator","image":{"repo":"cache-hub/library/app","reference":"more"},"datacenters":["mad1","par1"]}`
	err := w.ServePeer(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(ask)))
	var told *registry.Error
	if !errors.As(err, &told) || told.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}

// What a peer refuses of an order ends nothing else of it, and the peer's own words are told.
func TestAnImageThatAPeerRefusesEndsNoOther(t *testing.T) {
	var asked atomic.Int64
	peer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Method == http.MethodPost {
			registry.WriteError(rw, registry.Errorf(registry.CodeUnsupported, "it is unknown here"))
		}
	}))
	defer peer.Close()
	at, err := registry.NewSource(registry.SourceConfig{URL: peer.URL, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	peers := []*source.Source{source.New(t.Context(), source.Config{Kind: source.Peer, Name: "mad1", Datacenter: "mad1", Registry: at})}
	w := warm.New(warm.Config{Datacenter: "par1", Now: time.Now, Deadline: time.Minute, Peers: func() []*source.Source { return peers },
		Namespaces: namespace.NewTable([]namespace.Namespace{{Project: "cache-hub", Kind: namespace.Cache, DockerHub: true}})})
	mux := http.NewServeMux()
	w.Admin(mux)
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/warm", strings.NewReader(`{"fleet":true,"references":["cache-hub/a:v1","cache-hub/b:v1","cache-hub/c:v1"]}`)))
	if asked.Load() < 3 || !strings.Contains(rec.Body.String(), "it is unknown here") {
		t.Errorf("it was asked %d times: %s", asked.Load(), rec.Body)
	}
}
