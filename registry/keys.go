package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Keys make credentials that end, as those of a cloud's account do. Two that are equal (==)
// make the same ones.
type Keys interface {
	// Login makes them, by a way to whoever does so, and says until when they are good. An
	// error is ErrCredentials where the keys are refused.
	Login(ctx context.Context, by http.RoundTripper) (username, password string, until time.Time, err error)
}

// minted are the credentials that keys made last, or why they made none.
type minted struct {
	mu    sync.Mutex
	pass  *pass
	err   error
	again time.Time // after err
}

// basic is what a source is shown of the credentials themselves, for as long as they are good.
func (l *login) basic(ctx context.Context) (*pass, error) {
	if l.keys == nil {
		return &pass{authorization: basicOf(l.username, l.password), way: way{login: true}}, nil
	}
	now := l.now()
	l.minted.mu.Lock()
	kept, err, again := l.minted.pass, l.minted.err, l.minted.again
	l.minted.mu.Unlock()
	good := kept != nil && now.Before(kept.ends)
	switch {
	case now.Before(again) && !good:
		return nil, err
	case now.Before(again), good && now.Before(kept.renew):
		return kept, nil
	case good: // nobody waits for the next
		l.begin(ctx, "keys", l.mint)
		return kept, nil
	}
	v, err := l.join(ctx, "keys", l.mint)
	if err != nil {
		return nil, err
	}
	return v.(*pass), nil
}

// mint has the keys make credentials, and notes what came of it.
func (l *login) mint(ctx context.Context) (any, error) {
	username, password, until, err := l.keys.Login(ctx, l.named)
	now := l.now()
	life := until.Sub(now)
	if err == nil && life <= 0 {
		err = errors.New("the credentials that the keys made have ended already")
	}
	l.minted.mu.Lock()
	defer l.minted.mu.Unlock()
	if err != nil {
		l.minted.err, l.minted.again = fmt.Errorf("make credentials: %w", err), now.Add(renewNext)
		return nil, l.minted.err
	}
	l.minted.pass = &pass{authorization: basicOf(username, password), way: way{login: true}, renew: now.Add(life * 3 / 4), ends: until}
	l.minted.err, l.minted.again = nil, time.Time{}
	return l.minted.pass, nil
}

// drop forgets credentials that a source refuses: the keys are asked for others, but not at once.
func (m *minted) drop(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass, m.err, m.again = nil, ErrCredentials, now.Add(renewNext)
}

func basicOf(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}
