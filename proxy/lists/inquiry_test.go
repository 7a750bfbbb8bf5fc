package lists

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/fetch"
)

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	trial.Until(t, func() error {
		if so() {
			return nil
		}
		return errors.New(what)
	})
}

// later is an answer that comes when send is called.
func later(a trial.Answer) (_ trial.Answer, send func()) {
	come := make(chan struct{})
	a.After = come
	return a, func() { close(come) }
}

// Who has a list in hand gets it when the deadline is over, however slow its source is, and
// what the source says then is there for who asks next.
func TestARememberedListIsMadeNewByASlowSource(t *testing.T) {
	t.Run("tags", func(t *testing.T) {
		w := newWorld(t)
		w.Deadline = 50 * time.Millisecond
		w.remembered.tags[demo] = []string{"old"}
		slow, send := later(list("new"))
		w.harbor.Say(path(demo), slow)
		if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"old"}) || !got.Stale {
			t.Errorf("while it is slow: %+v, %v", got, err)
		}
		send()
		until(t, "the new list is not remembered", func() bool { return slices.Equal(w.TagList(demo), []string{"new"}) })
	})
	t.Run("referrers", func(t *testing.T) {
		w := newWorld(t)
		w.Deadline = 50 * time.Millisecond
		w.PutReferrers(demo, signed, []json.RawMessage{descriptorOf("old")})
		slow, send := later(index("new"))
		w.harbor.Say(api(demo), slow)
		if got, err := w.Lists.Referrers(t.Context(), referring(demo)); err != nil || !slices.Equal(names(got.All), []string{"old"}) {
			t.Errorf("while it is slow: %+v, %v", got, err)
		}
		send()
		until(t, "the new list is not remembered", func() bool {
			return slices.Equal(names(w.remembered.Referrers(demo, signed)), []string{"new"})
		})
	})
}

// What has come by then is told with what is remembered.
func TestARememberedListIsCompletedByWhoHasSpoken(t *testing.T) {
	w := newWorld(t)
	w.Deadline = 50 * time.Millisecond
	w.remembered.tags[nginx] = []string{"v1", "v7"}
	w.harbor.Say(path(nginx), list("v2"))
	w.hub.Say(path("nginx"), hangs)
	if got, err := w.Tags(t.Context(), question(nginx)); err != nil || !slices.Equal(got.All, []string{"v1", "v2", "v7"}) || !got.Merged {
		t.Errorf("%+v, %v", got, err)
	}
}

// A client with less patience than a source takes time comes again, and finds the question
// that it has asked: the source is not asked anew each time.
func TestAClientThatComesAgainFindsItsQuestion(t *testing.T) {
	w := newWorld(t)
	tags, sendTags := later(list("v1"))
	w.harbor.Say(path(demo), tags)
	referrers, sendReferrers := later(index("sig"))
	w.harbor.Say(api(demo), referrers)
	for range 3 {
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 2)
		go func() { _, err := w.Tags(ctx, question(demo)); gone <- err }()
		go func() { _, err := w.Lists.Referrers(ctx, referring(demo)); gone <- err }()
		until(t, "Harbor is not asked", func() bool { return len(w.harbor.Asked()) >= 2 })
		leave()
		for range 2 {
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("who has left: %v", err)
			}
		}
	}
	sendTags()
	if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"v1"}) {
		t.Errorf("%+v, %v", got, err)
	}
	sendReferrers()
	if got, err := w.Lists.Referrers(t.Context(), referring(demo)); err != nil || !slices.Equal(names(got.All), []string{"sig"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if api, list := w.harbor.AskedFor("GET "+api(demo)), w.harbor.AskedFor("GET "+path(demo)); api > 2 || list > 2 { // again at the end, where the answer had come before
		t.Errorf("Harbor was asked %d times for tags, and %d times for referrers", list, api)
	}
}

// A list that Harbor shows one client, by that client's credentials, is no other client's; and
// what a peer is told is without the peers, as it has to be.
func TestOnlyWhoAsksTheSameSharesAnAnswer(t *testing.T) {
	as := func(authorization string) fetch.Question {
		q := question(demo)
		q.Authorization = authorization
		return q
	}
	peers := as("")
	peers.OwnOnly = true
	for name, c := range map[string]struct {
		relay       bool
		first, then fetch.Question
		asked       int
	}{
		"other credentials that Harbor is shown": {true, as("Basic b25l"), as("Basic b3RoZXI="), 2},
		"none, and some":                         {true, as(""), as("Basic b3RoZXI="), 2},
		"the same":                               {true, as("Basic b25l"), as("Basic b25l"), 1},
		"credentials that Harbor is not shown":   {false, as("Basic b25l"), as("Basic b3RoZXI="), 1},
		"a client's, and a peer's":               {false, as(""), peers, 2},
		"two peers'":                             {false, peers, peers, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Routes.Harbor.Relay = c.relay
			slow, send := later(list("v1"))
			w.harbor.Say(path(demo), slow)
			done := make(chan error, 2)
			for _, q := range []fetch.Question{c.first, c.then} {
				go func() { _, err := w.Tags(t.Context(), q); done <- err }()
			}
			until(t, "not both are waiting", func() bool {
				w.tagsAsked.mu.Lock()
				defer w.tagsAsked.mu.Unlock()
				waiting := 0
				for q := range w.tagsAsked.all {
					waiting += q.waiting
				}
				return waiting == 2
			})
			send()
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if n := w.harbor.AskedFor("GET " + path(demo)); n != c.asked {
				t.Errorf("Harbor was asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// Who has written a repo is not shown a list that was read before, nor is it remembered.
func TestAListFromBeforeAWriteIsNobodysYet(t *testing.T) {
	w := newWorld(t)
	slow, send := later(list("old"))
	w.harbor.Say(path(demo), slow)
	first := make(chan error, 1)
	go func() { _, err := w.Tags(t.Context(), question(demo)); first <- err }()
	until(t, "Harbor is not asked", func() bool { return w.harbor.AskedFor("GET "+path(demo)) > 0 })
	w.Written(demo)
	w.harbor.Say(path(demo), list("new"))
	if got, err := w.Tags(t.Context(), question(demo)); err != nil || !slices.Equal(got.All, []string{"new"}) {
		t.Errorf("after the write: %+v, %v", got, err)
	}
	send()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := w.TagList(demo); !slices.Equal(got, []string{"new"}) {
		t.Errorf("remembers %q", got)
	}
	slow, send = later(list("old"))
	w.harbor.Say(path(core), slow)
	go func() { _, err := w.Tags(t.Context(), question(core)); first <- err }()
	until(t, "Harbor is not asked", func() bool { return w.harbor.AskedFor("GET "+path(core)) > 0 })
	w.Written(core)
	send()
	if err := <-first; err != nil || w.TagList(core) != nil {
		t.Errorf("nobody has asked since: %v, remembers %q", err, w.TagList(core))
	}
}

// Questions end with the edge: who waits is told that nobody can say.
func TestQuestionsEndWithTheEdge(t *testing.T) {
	w := newWorld(t)
	ctx, end := context.WithCancel(t.Context())
	w.Context = ctx
	w.harbor.Say(path(demo), hangs)
	told := make(chan error, 1)
	go func() { _, err := w.Tags(t.Context(), question(demo)); told <- err }()
	until(t, "Harbor is not asked", func() bool { return w.harbor.AskedFor("GET "+path(demo)) > 0 })
	end()
	if err := <-told; status(err) != http.StatusServiceUnavailable {
		t.Error(err)
	}
}

// A question that nobody waits for goes on for the next who asks; but who comes and goes
// again, however often, keeps no more than so many of them busy.
func TestQuestionsThatNobodyWaitsForAreBounded(t *testing.T) {
	var busy atomic.Int64
	var all inquiries[string]
	ctx, end := context.WithCancel(t.Context())
	for i := range 2 * maxLeft {
		all.ask(ctx, subject{repo: fmt.Sprint(i)}, noneApart, func(ctx context.Context, _ *inquiry[string]) (List[string], error) {
			busy.Add(1)
			defer busy.Add(-1)
			<-ctx.Done()
			return List[string]{}, ctx.Err()
		}).leave()
	}
	counted := func() (n int) {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.all)
	}
	until(t, "they are not bounded", func() bool { return counted() == maxLeft && busy.Load() == maxLeft })
	all.ask(ctx, subject{repo: "0"}, noneApart, func(context.Context, *inquiry[string]) (List[string], error) {
		t.Error("one that is left is not joined")
		return List[string]{}, nil
	}).leave()
	end()
	until(t, "they do not end", func() bool { return counted() == 0 && all.left == 0 && len(all.join) == 0 })
}
