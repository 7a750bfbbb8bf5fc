package warm_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/warm"
)

// idle is a Warmer that does not run: what is added waits.
func idle() *warm.Warmer {
	return warm.New(warm.Config{Datacenter: "par1", Now: time.Now, Peers: func() []*source.Source { return nil },
		Namespaces: namespace.NewTable([]namespace.Namespace{{Project: "cache-hub", Kind: namespace.Cache, DockerHub: true}}),
		Sets: func() []warm.Set {
			return []warm.Set{{Project: "multi-dc-app", Images: []string{"web/*"}, Push: true}, {Project: "multi-dc-app", Images: []string{"**"}, Push: true, Datacenters: []string{"mad1"}}}
		}})
}

// What waits already waits once, under whatever name it was asked for; what cannot be warmed is
// refused in a sentence, and keeps nothing else out.
func TestWhatIsTaken(t *testing.T) {
	w := idle()
	d := "sha256:" + strings.Repeat("a", 64)
	taken, err := w.Add(warm.Preheat,
		warm.Image{Repo: "cache-hub/library/app", Reference: "v1"}, warm.Image{Repo: "cache-hub/app", Reference: "v1"},
		warm.Image{Repo: "cache-hub/app", Reference: d}, warm.Image{Repo: "cache-hub/app", Reference: "v1", Platforms: []string{"linux/arm64/v8"}},
		warm.Image{Repo: "cache-hub/app", Reference: "a tag"}, warm.Image{Repo: "cache-hub", Reference: "v1"}, warm.Image{Repo: "../x", Reference: "v1"},
		warm.Image{Repo: "plain/app", Reference: "v1"}, warm.Image{Repo: "cache-hub/app", Reference: "v1", Platforms: []string{"linux"}})
	if taken != 4 || err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("%d are taken: %v", taken, err)
	}
	status := w.Status()
	if status.Pending != 3 || status.Kinds[warm.Preheat].Pending != 3 || len(w.Status("cache-hub/library/app@"+d).Images) != 1 {
		t.Errorf("%+v", status)
	}
}

// The queue is bounded.
func TestTheQueueIsBounded(t *testing.T) {
	w := idle()
	for i := range 10_000 {
		if _, err := w.Add(warm.Clock, warm.Image{Repo: "cache-hub/app", Reference: fmt.Sprint("v", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if taken, err := w.Add(warm.Clock, warm.Image{Repo: "cache-hub/app", Reference: "more"}); taken != 0 || !errors.Is(err, warm.ErrFull) {
		t.Errorf("%d, %v", taken, err)
	}
	if taken, err := w.Add(warm.Clock, warm.Image{Repo: "cache-hub/app", Reference: "v7"}); taken != 1 || err != nil {
		t.Errorf("one that waits: %d, %v", taken, err)
	}
}

// A push is for the sets that take it, at the edges of their datacenters.
func TestAPushIsForTheSetsThatTakeIt(t *testing.T) {
	w := idle()
	w.Pushed("multi-dc-app/other", "v1", time.Now()) // at mad1 alone
	w.Pushed("multi-dc-more/web/x", "v1", time.Now())
	w.Pushed("multi-dc-app/web/x", "v2", time.Now())
	w.Pushed("multi-dc-app/web/x", "v0", time.Now().Add(-2*time.Hour)) // history
	if s := w.Status(); s.Pending != 1 || s.Images[0].Image != "multi-dc-app/web/x:v2" || s.Images[0].Kind != warm.Push {
		t.Errorf("%+v", s)
	}
}

// A push that finds the queue full is logged, and not each of them.
func TestAPushThatIsNotWarmedIsLogged(t *testing.T) {
	var log bytes.Buffer
	w := warm.New(warm.Config{Datacenter: "par1", Now: time.Now, Peers: func() []*source.Source { return nil }, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Namespaces: namespace.NewTable([]namespace.Namespace{{Project: "cache-hub", Kind: namespace.Cache, DockerHub: true}}),
		Sets:       func() []warm.Set { return []warm.Set{{Project: "multi-dc-app", Images: []string{"**"}, Push: true}} }})
	for i := range 10_003 {
		w.Pushed("multi-dc-app/web", fmt.Sprint("v", i), time.Now())
	}
	if n := strings.Count(log.String(), "is not warmed"); n != 1 {
		t.Errorf("it was logged %d times: %s", n, log.String())
	}
}
