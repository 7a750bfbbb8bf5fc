package fetch

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/registry"
)

// A source that is slow and alive is waited for, and others are asked beside it: who answers
// first gives the blob or the manifest, and only who answers no probe either is given up.
func TestASlowSourceIsWaitedFor(t *testing.T) {
	body, d := manifest("slow")
	const slow, hangs = "slow", "hangs" // the others answer at once
	for name, c := range map[string]struct {
		repo                    string
		harbor, mad1, drp1, hub string
		own                     bool // a peer's question
		want                    string
		status                  int
	}{
		"Harbor alone":                                   {repo: demo, harbor: slow, own: true, want: "harbor", status: 200},
		"Harbor, where peers have it not":                {repo: demo, harbor: slow, want: "harbor", status: 200},
		"Harbor, where peers cannot say":                 {repo: demo, harbor: slow, mad1: "500", drp1: "500", want: "harbor", status: 200},
		"Harbor, where a peer hangs":                     {repo: demo, harbor: slow, mad1: hangs, want: "harbor", status: 200},
		"Harbor, where a peer has it":                    {repo: demo, harbor: slow, mad1: "200", want: "peer-mad1", status: 200},
		"a peer":                                         {repo: demo, drp1: slow, want: "peer-drp1", status: 200},
		"a peer, where Harbor hangs":                     {repo: demo, harbor: hangs, drp1: slow, want: "peer-drp1", status: 200},
		"the upstream, where Harbor cannot":              {repo: nginx, harbor: "500", mad1: "500", drp1: "500", hub: slow, want: "upstream-hub", status: 200},
		"Harbor, where the upstream cannot":              {repo: nginx, harbor: slow, mad1: "500", drp1: "500", hub: "500", want: "harbor", status: 200},
		"the upstream, behind a rule":                    {repo: core, harbor: "404", mad1: "404", drp1: "404", hub: slow, want: "upstream-hub", status: 200},
		"nobody: Harbor hangs, and nobody else has it":   {repo: demo, harbor: hangs, status: 503},
		"nobody: Harbor hangs, and nobody else is there": {repo: demo, harbor: hangs, own: true, status: 503},
		"nobody: the upstream hangs, and Harbor with it": {repo: nginx, harbor: slow + " for ever", mad1: "500", drp1: "500", hub: hangs, status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			for _, kind := range []string{"blob", "manifest"} {
				w := newWorld(t)
				w.Deadline = 50 * time.Millisecond
				release := make(chan struct{})
				defer close(release)
				for r, how := range map[*trial.Registry]string{w.harbor: c.harbor, w.mad1: c.mad1, w.drp1: c.drp1, w.hub: c.hub} {
					a := serve(body)
					switch how {
					case "500":
						a = broken
					case "", "404":
						continue
					case slow:
						waited := make(chan struct{}) // several times as long as others are asked beside it
						time.AfterFunc(8*w.Deadline, func() { close(waited) })
						a.After = waited
					case slow + " for ever":
						a.After = release
					case hangs:
						a.Never = true
						r.Say("/v2/", trial.Answer{Never: true})
					}
					for _, repo := range []string{demo, nginx, core, "nginx"} {
						r.Say("/v2/"+repo+"/blobs/"+d.String(), a)
						r.Say("/v2/"+repo+"/manifests/v1", a)
					}
				}
				got, from, err := w.give(t, kind, c.repo, d, c.own)
				if status(err) != c.status || err == nil && (from != c.want || got != body) {
					t.Errorf("%s: %q of %s, %v; want %d of %s", kind, got, from, err, c.status, c.want)
				}
			}
		})
	}
}

// give asks for a blob or for a tag's manifest, and returns what came from whom.
func (w *world) give(t *testing.T, kind, repo string, d digest.Digest, own bool) (got, from string, err error) {
	t.Helper()
	if kind == "manifest" {
		q := tagOf(repo)
		q.OwnOnly = own
		found, err := w.Manifest(t.Context(), q, tags.Entry{})
		return string(found.Body), found.Entry.Source, err
	}
	q := blobOf(repo, d)
	q.OwnOnly = own
	b, err := w.Blob(t.Context(), q)
	if err != nil {
		return "", "", err
	}
	return content(t, b, nil), b.Source, nil
}

// beSource has the local Harbor of a test be whatever stands at an address.
func (w *world) beSource(t *testing.T, cfg registry.SourceConfig) {
	t.Helper()
	cfg.Trusted = true
	other, err := registry.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Routes.Harbor.Use(other)
}

// raw starts a server that sends what it is given to whoever asks, and closes the connection
// then; at "…" it takes longer than others are not asked beside it.
func raw(t *testing.T, answer string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				head := make([]byte, 16<<10)
				n, _ := conn.Read(head)
				if strings.HasPrefix(string(head[:n]), "GET /v2/ ") {
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					return
				}
				for i, part := range strings.Split(answer, "…") {
					if i > 0 {
						time.Sleep(300 * time.Millisecond)
					}
					io.WriteString(conn, part) //nolint:errcheck // the client is gone
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// However a source's HTTP frames a blob, a client gets the whole of it or an error.
func TestHowABlobIsFramed(t *testing.T) {
	chunks := func(parts ...string) (s string) {
		for _, p := range parts {
			s += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
		}
		return s
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	for name, c := range map[string]struct {
		answer string
		whole  bool
	}{
		"HTTP/1.0, a body until the end":           {"HTTP/1.0 200 OK\r\n\r\n" + layer, true},
		"HTTP/1.0, a body that ends early":         {"HTTP/1.0 200 OK\r\n\r\n" + layer[:5], false},
		"HTTP/1.0, with a length":                  {"HTTP/1.0 200 OK\r\n" + length(len(layer)) + "\r\n" + layer, true},
		"HTTP/1.1, a body until the end":           {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + layer, true},
		"a length that is longer than the body":    {"HTTP/1.1 200 OK\r\n" + length(len(layer)+5) + "\r\n" + layer, false},
		"a length that is shorter than the body":   {"HTTP/1.1 200 OK\r\n" + length(len(layer)-5) + "\r\n" + layer, false},
		"a length of nothing":                      {"HTTP/1.1 200 OK\r\n" + length(0) + "\r\n", false},
		"chunks":                                   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(layer[:5], layer[5:]) + "0\r\n\r\n", true},
		"chunks, and a trailer":                    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + chunks(layer) + "0\r\nX-Sum: 1\r\n\r\n", true},
		"chunks without an end":                    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(layer), false},
		"a chunk that is longer than it says":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n" + layer + "\r\n0\r\n\r\n", false},
		"a chunk that ends early":                  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + layer, false},
		"chunks, whatever the length says":         {"HTTP/1.1 200 OK\r\n" + length(5) + "Transfer-Encoding: chunked\r\n\r\n" + chunks(layer) + "0\r\n\r\n", true},
		"other bytes of the right length":          {"HTTP/1.1 200 OK\r\n" + length(len(layer)) + "\r\n" + strings.Repeat("x", len(layer)), false},
		"a header long before its body":            {"HTTP/1.1 200 OK\r\n" + length(len(layer)) + "\r\n…" + layer, true},
		"a status line long before what follows":   {"HTTP/1.1 200 OK\r\n…" + length(len(layer)) + "\r\n" + layer, true},
		"an interim answer long before the answer": {"HTTP/1.1 103 Early Hints\r\n\r\n…HTTP/1.1 200 OK\r\n" + length(len(layer)) + "\r\n" + layer, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			w := newWorld(t)
			w.Deadline = 50 * time.Millisecond
			w.beSource(t, registry.SourceConfig{URL: raw(t, c.answer)})
			q := blobOf(demo, layerDigest)
			q.OwnOnly = true
			b, err := w.Blob(t.Context(), q)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(b)
				b.Close()
			}
			if (err == nil) != c.whole || c.whole && string(got) != layer || !c.whole && len(got) > 0 || w.Holds(layerDigest) != c.whole {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A stream that an HTTP/2 source resets, or whose connection goes away, goes on where it was:
// from the same source, or from the next.
func TestAnHTTP2StreamThatBreaksIsResumed(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 64<<10)
	for name, c := range map[string]struct {
		times int32 // that the source breaks off
		peer  bool  // has it
		whole bool
	}{
		"once, and there is nobody else":  {1, false, true},
		"always, and a peer has the rest": {100, true, true},
		"always, and nobody has the rest": {100, false, false},
	} {
		for _, how := range []string{"a reset", "the connection's end"} {
			t.Run(name+": "+how, func(t *testing.T) {
				t.Parallel() // it waits most of the time
				w := newWorld(t)
				var asked atomic.Int32
				var srv *httptest.Server
				srv = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if !strings.Contains(r.URL.Path, "/blobs/") {
						return
					}
					if r.ProtoMajor != 2 {
						t.Errorf("asked by %s", r.Proto)
					}
					if asked.Add(1) > c.times {
						http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(long))
						return
					}
					rw.Header().Set("Content-Length", fmt.Sprint(len(long)))
					io.WriteString(rw, long[:len(long)/2]) //nolint:errcheck // it is broken off anyway
					http.NewResponseController(rw).Flush() //nolint:errcheck // as above
					if how != "a reset" {
						go srv.CloseClientConnections()
					}
					panic(http.ErrAbortHandler)
				}))
				srv.TLS = &tls.Config{}
				trial.Speak(srv.TLS, "h2")
				srv.EnableHTTP2 = true
				srv.StartTLS()
				t.Cleanup(srv.Close)
				w.beSource(t, registry.SourceConfig{URL: srv.URL, TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig})
				q := blobOf(demo, digest.FromString(long))
				if c.peer {
					w.mad1.Say("/v2/"+demo+"/blobs/"+q.Request.Digest.String(), blob(long))
				}
				q.OwnOnly = !c.peer
				b, err := w.Blob(t.Context(), q)
				var got []byte
				if err == nil {
					got, err = io.ReadAll(b)
					b.Close()
				}
				if (err == nil) != c.whole || c.whole && string(got) != long || !c.whole && len(got) == len(long) {
					t.Errorf("%d of %d bytes, %v", len(got), len(long), err)
				}
			})
		}
	}
}
