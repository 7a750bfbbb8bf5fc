package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// standing is what is known of a source's credentials.
type standing struct {
	mu      sync.Mutex
	refused bool
	tried   time.Time // when it was last asked whether they are good
}

func (s *standing) isRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *standing) note(refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = refused
}

// doubted reports whether it is to be asked again whether the credentials are good.
func (s *standing) doubted(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused || now.Sub(s.tried) >= standingGood
}

// judge reads an answer by what it was given for. What says something about the credentials,
// and nothing about the content, is an error.
func (l *login) judge(ctx context.Context, at place, resp *http.Response, shown *pass) (*http.Response, error) {
	if !at.home() || l.anonymous() {
		return resp, nil
	}
	refuses := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
	asks := len(ParseChallenges(resp.Header.Values("Www-Authenticate"))) > 0
	var err error
	switch {
	case shown == nil:
		if resp.StatusCode == http.StatusUnauthorized && asks {
			err = errors.New("it asks for a login of a kind that is not known")
		}
	case !shown.way.login:
		if refuses {
			err = ErrElsewhere
		}
	case shown.isToken():
		// A Harbor says 401 without a challenge where it has no such project.
		err = l.judgeToken(ctx, resp, shown, refuses && (asks || resp.StatusCode == http.StatusForbidden))
	default:
		err = l.judgeBasic(ctx, resp, shown, refuses)
	}
	if err != nil {
		resp.Body.Close()
		if errors.Is(err, ErrCredentials) && l.keys != nil {
			l.minted.drop(l.now())
		}
		return nil, err
	}
	return resp, nil
}

// judgeToken is for what a token was shown for that the credentials were shown for. A token
// service may give nobody's token to who is refused.
func (l *login) judgeToken(ctx context.Context, resp *http.Response, shown *pass, refuses bool) error {
	if (refuses || l.hides(resp)) && errors.Is(l.check(ctx, shown.way), ErrCredentials) {
		return ErrCredentials
	}
	return nil
}

// judgeBasic is for what the credentials themselves were shown for.
func (l *login) judgeBasic(ctx context.Context, resp *http.Response, shown *pass, refuses bool) error {
	switch {
	case saysExpired(resp):
		l.standing.note(true)
		return ErrCredentials
	case refuses:
		if err := l.check(ctx, shown.way); errors.Is(err, ErrCredentials) || err != nil && resp.StatusCode == http.StatusUnauthorized {
			l.standing.note(true)
			return ErrCredentials
		}
		return fmt.Errorf("it answers %d to credentials that it does not refuse elsewhere", resp.StatusCode)
	case l.hides(resp) && errors.Is(l.check(ctx, shown.way), ErrCredentials):
		return ErrCredentials
	case resp.StatusCode < http.StatusMultipleChoices:
		l.standing.note(false)
	}
	return nil
}

// hides reports whether an answer may be one that hides what is there from whom the source
// takes for nobody.
func (l *login) hides(resp *http.Response) bool {
	return resp.StatusCode == http.StatusNotFound && !l.trusted && l.standing.doubted(l.now())
}

// check finds out whether the credentials are good, whatever they are good for: a token
// service says so to who asks for no repo, as docker login does, and so does the root of a
// source that is not open to everybody. nil: they are; ErrCredentials: they are not; else
// nobody knows.
func (l *login) check(ctx context.Context, w way) error {
	_, err, _ := l.joined.Do("check", func() (any, error) {
		ctx, cancel := context.WithTimeout(beside{context.WithoutCancel(ctx)}, tokenDeadline)
		defer cancel()
		err := l.ask(ctx, w)
		l.standing.mu.Lock()
		defer l.standing.mu.Unlock()
		l.standing.tried = l.now()
		if err == nil || errors.Is(err, ErrCredentials) {
			l.standing.refused = err != nil
		}
		return nil, err
	})
	return err
}

func (l *login) ask(ctx context.Context, w way) error {
	if w.realm != nil {
		_, err := l.fetch(ctx, place{host: l.source.Host}, w, "")
		var e *Error
		if errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
			return ErrCredentials
		}
		return err
	}
	p, err := l.basic(ctx)
	if err != nil {
		return err
	}
	for _, authorization := range []string{"", p.authorization} {
		resp, err := l.get(ctx, l.home, l.root, authorization)
		if err != nil {
			return err
		}
		resp.Body.Close()
		switch refused := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden; {
		case authorization == "" && !refused:
			return errors.New("its root is open to everybody, and says nothing of who asks")
		case authorization != "" && refused:
			return ErrCredentials
		case authorization != "" && resp.StatusCode != http.StatusOK:
			return fmt.Errorf("its root answers %d", resp.StatusCode)
		}
	}
	return nil
}

// saysExpired reads whether a refusal is of something that has ended, as Amazon's registries
// say it with 400 and 403 too. The body is left as it was.
func saysExpired(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return false
	}
	head, whole, err := Peek(resp.Body, maxErrorBody)
	resp.Body = whole
	return err == nil && strings.Contains(strings.ToLower(string(head)), "expired")
}

// beside is a context for requests beside the one that it is of: who looks at that one's
// connection is not to see theirs, and their answers are short.
type beside struct{ context.Context }

// Value implements context.Context.
func (b beside) Value(key any) any {
	if key == (bulkKey{}) {
		return nil
	}
	v := b.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}
