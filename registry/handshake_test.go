package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/breakwater/internal/trial"
)

// A handshake with a source goes on when who began it has left. Who asks for one repo after
// the other, and leaves, keeps no more than so many of them busy.
func TestHandshakesAreBounded(t *testing.T) {
	var busy atomic.Int64
	ended := make(chan struct{})
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			w.Header().Set("Www-Authenticate", `Bearer realm="`+srv.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		busy.Add(1)
		defer busy.Add(-1)
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer srv.Close()
	defer close(ended)
	s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret"})
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var refused atomic.Int64
	for i := range 300 {
		all.Go(func() {
			r := blobRequest()
			r.Repo = fmt.Sprint("p/", i)
			_, err := s.Do(ctx, r, nil)
			if errors.Is(err, &Error{Code: CodeUnavailable}) && ctx.Err() == nil {
				refused.Add(1)
			}
		})
	}
	trial.Until(t, func() error {
		if busy.Load() < maxShaking || refused.Load() != 300-maxShaking {
			return fmt.Errorf("%d are busy, %d were refused", busy.Load(), refused.Load())
		}
		return nil
	})
	leave()
	all.Wait()
	if n := busy.Load(); n > 2*maxShaking { // a handshake may try twice
		t.Errorf("%d are busy", n)
	}
}
