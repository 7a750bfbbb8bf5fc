package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

const checkDeadline = time.Second

// lastCheck keeps the result of a check for a short time. Of several callers, one checks
// for all.
type lastCheck struct {
	mu   sync.Mutex
	at   time.Time // when it began
	down bool
}

// within returns the result of a check that is not older than age, and checks where there
// is none. Callers that wait share the next check.
func (l *lastCheck) within(age time.Duration, now func() time.Time, check func() bool) bool {
	asked := now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked.Sub(l.at) >= age {
		l.at = now()
		l.down = check()
	}
	return l.down
}

// databaseIsDown reports whether Harbor's database is down: then its token service
// takes everybody for nobody. Its manifests and blobs say so at once, its health
// after some seconds. A check of the given age will do.
func (s *Service) databaseIsDown(ctx context.Context, q question, age time.Duration) bool {
	return s.unwell.within(age, s.Now, func() bool {
		ctx := context.WithoutCancel(ctx)
		if len(q.repos) > 0 && registry.ValidRepo(q.repos[0]) && strings.HasPrefix(q.authorization, "Basic ") {
			asking, cancel := context.WithTimeout(ctx, checkDeadline)
			defer cancel()
			err := s.Access.AskHarbor(asking, q.repos[0], q.authorization)
			var e, harbors *registry.Error
			// Only this 401 is the database's. Other failures may come from the repo, which the client chooses.
			if errors.As(err, &e) && e.Code == registry.CodeUnavailable && errors.As(e.Cause, &harbors) && harbors.Status == http.StatusUnauthorized {
				return true
			}
		}
		return !s.Health.KnowsPeople(ctx)
	})
}

// harborIsDown reports whether the edge itself sees that the local Harbor cannot say who
// may do what: it does not answer a probe, or its database does not answer the edge's own
// question. A client's request that failed is no proof: the client may have made it fail.
func (s *Service) harborIsDown(ctx context.Context) bool {
	if !s.Harbor.Usable() {
		return true
	}
	return s.databaseIsDown(ctx, question{}, source.HealthFor)
}

// KnowsNobody reports whether the local Harbor's database is seen not to answer, now: then
// Harbor refuses credentials that are right. Those who ask at once share one question.
func (s *Service) KnowsNobody(ctx context.Context) bool {
	return s.lost.within(0, s.Now, func() bool { return s.Health.HasLostPeople(context.WithoutCancel(ctx)) })
}

// giveInOutage answers when no Harbor can. A credential that was granted a pull lately
// gets it again, for as long as the grace lasts.
func (s *Service) giveInOutage(q question, cause error) (Answer, error) {
	repos := s.Access.Remembered(q.authorization, q.repos)
	inGrace := s.Access.InGrace()
	s.watch()
	if len(repos) == 0 || !inGrace {
		s.tokens.WithLabelValues("nobody").Inc()
		e := registry.Errorf(registry.CodeUnavailable, "no Harbor can say now who may do what; try again")
		e.RetryAfter, e.Cause = outcome.RetryAfter, cause
		return Answer{}, e
	}
	who := access.Claimed(q.authorization)
	s.tokens.WithLabelValues(Outage).Inc()
	s.givenAt.Store(s.Now().UnixNano())
	s.given.Add(1)
	s.Log.Warn("outage token", "who", who, "repos", repos, "err", cause.Error())
	return s.ownToken(who, repos, Outage)
}

// ownToken makes a token that edges alone accept, in the form of Harbor's answers.
func (s *Service) ownToken(subject string, repos []string, from string) (Answer, error) {
	raw, lifetime, err := s.Access.OwnToken(subject, repos)
	if err != nil {
		return Answer{}, err
	}
	body, err := json.Marshal(map[string]any{
		"token": raw, "access_token": "", "expires_in": int(lifetime.Seconds()), "issued_at": s.Now().UTC().Format(time.RFC3339),
	})
	header := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}, "Content-Length": {strconv.Itoa(len(body))}}
	return Answer{Status: http.StatusOK, Header: header, Body: body, Source: from, Who: subject}, err
}

// watch asks until Harbor is well again, so that the next outage has its whole grace
// though nobody came for a token in between.
func (s *Service) watch() {
	if !s.watching.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.watching.Store(false)
		tick := time.NewTicker(source.HealthFor)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.ctx.Done():
				return
			}
			if s.Health.KnowsPeople(s.ctx) {
				s.Access.HarborAnswers()
				return
			}
		}
	}()
}
