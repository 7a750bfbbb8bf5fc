package trial

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Answer is what a Registry says once. Status 0 is 200; the content is JSON where no
// header says otherwise.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Never  bool            // it hangs, until who asks is gone
	After  <-chan struct{} // it answers when this is closed; nil: at once
}

// Registry says what a test has it say, and remembers what it was asked. It says 404
// NAME_UNKNOWN where it was told nothing, and is up: GET /v2/ is 200, unless it is told of that.
type Registry struct {
	*httptest.Server

	mu    sync.Mutex
	says  map[string]Answer
	asked []*http.Request
}

// NewRegistry starts a Registry that ends with the test.
func NewRegistry(t testing.TB) *Registry {
	r := &Registry{says: map[string]Answer{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.CloseClientConnections() // what hangs would be waited for
		r.Close()
	})
	return r
}

// Say has the registry answer requests so: to "METHOD path?query", "path?query",
// "METHOD path" or "path", the first of these that it was told of.
func (r *Registry) Say(to string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says[to] = a
}

// Asked is what the registry was asked for, but for a GET /v2/ that it was not told of, in order. The bodies can be
// read, once.
func (r *Registry) Asked() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// AskedFor counts the requests whose "METHOD path" begins so.
func (r *Registry) AskedFor(prefix string) (n int) {
	for _, req := range r.Asked() {
		if strings.HasPrefix(req.Method+" "+req.URL.Path, prefix) {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/v2/" {
		r.mu.Lock()
		_, told := r.says["/v2/"]
		r.mu.Unlock()
		if !told {
			return
		}
	}
	body, _ := io.ReadAll(req.Body) // what came of it
	kept := req.Clone(context.Background())
	kept.Body = io.NopCloser(bytes.NewReader(body))
	a := r.answer(kept)
	if a.Never {
		<-req.Context().Done()
		return
	}
	if a.After != nil {
		select {
		case <-a.After:
		case <-req.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	maps.Copy(w.Header(), a.Header)
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	if req.Method != http.MethodHead {
		w.Write([]byte(a.Body)) //nolint:errcheck // the client is gone
	}
}

func (r *Registry) answer(req *http.Request) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req)
	uri := req.URL.RequestURI()
	for _, to := range []string{req.Method + " " + uri, uri, req.Method + " " + req.URL.Path, req.URL.Path} {
		if a, ok := r.says[to]; ok {
			return a
		}
	}
	return Answer{Status: http.StatusNotFound, Body: `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`}
}
