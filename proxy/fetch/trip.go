package fetch

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// trip is how long the way to who answers a request takes, there and back, at most: as long as
// to connect, or from what was asked to the first byte of the answer. Of a redirect it is the
// last one's.
type trip struct {
	mu    sync.Mutex
	begun time.Time // of what is measured now
	took  time.Duration
}

// over returns a context in which requests are measured.
func (t *trip) over(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.took = 0
		},
		ConnectStart: func(string, string) { t.begin() },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				t.end()
			}
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { t.begin() },
		GotFirstResponseByte: t.end,
	})
}

func (t *trip) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = time.Now()
}

func (t *trip) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if took := time.Since(t.begun); t.took == 0 || took < t.took {
		t.took = took
	}
}

// time is what was measured; 0: nothing was.
func (t *trip) time() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.took
}
