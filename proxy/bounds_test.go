package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/registry"
)

// Everybody may ask for a token of a public project, for repos of any names: that grows
// neither the disk nor the memory. In an outage the project can be read all the same.
func TestTokensOfAnybodyGrowNothing(t *testing.T) {
	path := t.TempDir() + "/state.db"
	var db *state.DB
	s := newSite(t, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		var err error
		if db, err = state.Open(path, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		a.Members, a.Grants, p.State, a.OutageGrace, a.Keys = db, db, db, time.Hour, peerKeys
	})
	for i := range 200 {
		query := "/service/token?service=harbor-registry"
		for j := range 32 {
			query += fmt.Sprintf("&scope=repository:repl-open/x%d-%d:pull", i, j)
		}
		if a := s.do(t, http.MethodGet, query, nil); a.status != http.StatusOK {
			t.Fatal(a.status, string(a.body))
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 128<<10 {
		t.Errorf("6400 names that do not exist take %d bytes, %v", info.Size(), err)
	}
}

// left is a Harbor's front whose answers for a path do not come, how many are waited for, and
// how many were asked for.
func left(t *testing.T, s *site, part string) (edge *httptest.Server, busy, asked *atomic.Int64) {
	t.Helper()
	busy, asked = new(atomic.Int64), new(atomic.Int64)
	harbor := passTo(t, s.harbor.URL())
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, part) {
			busy.Add(1)
			defer busy.Add(-1)
			asked.Add(1)
			<-r.Context().Done()
			return
		}
		harbor.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	return startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Deadline = time.Minute
	}), busy, asked
}

// A client that asks and leaves, for one thing after the other, keeps no more than so many
// questions to Harbor busy.
func TestWhoComesAndGoesLeavesLittleBehind(t *testing.T) {
	s := newSite(t)
	edge, busy, asked := left(t, s, "/multi-dc-demo/app/manifests/gone")
	s.edge = edge
	header := s.as(t, reader, "multi-dc-demo/app")["Authorization"]
	for i := range 300 {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/v2/multi-dc-demo/app/manifests/gone%d", s.edge.URL, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		ended := make(chan struct{})
		before := asked.Load()
		go func() {
			defer close(ended)
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
		waitFor(t, "Harbor to be asked", func() bool { return asked.Load() > before })
		leave()
		<-ended
	}
	begun := time.Now()
	waitFor(t, "those to end that nobody waits for", func() bool { return busy.Load() <= 256 })
	if took := time.Since(begun); took > 20*time.Second { // in a minute they would end by themselves
		t.Errorf("that took %v", took)
	}
}

// Answers that clients do not take hold so much memory and no more: who asks for more is told
// to come again, and is served when the others are gone.
func TestLargeAnswersThatNobodyTakesAreBounded(t *testing.T) {
	s := newSite(t)
	large := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"a":%q}}`, types.OCIImageIndex, strings.Repeat("a", 4<<20-200))
	header := s.asWriter(t, "multi-dc-demo/app")
	push := map[string]string{"Authorization": header["Authorization"], "Content-Type": string(types.OCIImageIndex)}
	if status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/manifests/large", push, strings.NewReader(large)); status != http.StatusCreated {
		t.Fatal(status)
	}
	var refused atomic.Int64
	var conns []net.Conn
	for range 45 { // of which 31 have their share of 128 MiB
		conn, err := net.Dial("tcp", host(s.edge.URL))
		if err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).SetReadBuffer(4 << 10) //nolint:errcheck // the kernel has its own mind
		fmt.Fprintf(conn, "GET /v2/multi-dc-demo/app/manifests/large HTTP/1.1\r\nHost: edge\r\nAuthorization: %s\r\n\r\n", header["Authorization"])
		conns = append(conns, conn)
		go func() {
			line := make([]byte, 12)
			if _, err := io.ReadFull(conn, line); err == nil && bytes.HasSuffix(line, []byte("503")) {
				refused.Add(1)
			}
		}()
	}
	waitFor(t, "those to be refused for whom nothing is left", func() bool { return refused.Load() >= 10 })
	for _, conn := range conns {
		conn.Close()
	}
	waitFor(t, "an answer when they are gone", func() bool {
		a := s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/large", header)
		return a.status == http.StatusOK && string(a.body) == large
	})
}

// A client has so many requests at once and no more. Health is answered all the same.
func TestRequestsAtOnceAreBounded(t *testing.T) {
	s := newSite(t)
	edge, busy, _ := left(t, s, "/api/hangs")
	s.edge = edge
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	const most = 4 << 10
	for range most {
		conn, err := net.Dial("tcp", host(s.edge.URL))
		if err != nil {
			t.Skip(err) // too few files may be open
		}
		conns = append(conns, conn)
		fmt.Fprint(conn, "GET /api/hangs HTTP/1.1\r\nHost: edge\r\n\r\n")
	}
	waitFor(t, "all to be under way", func() bool { return busy.Load() == most })
	a := s.do(t, http.MethodGet, "/v2/", nil)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %v", a.status, a.header)
	}
	if a := s.do(t, http.MethodGet, "/breakwater/v1/health", nil); a.status != http.StatusOK {
		t.Errorf("health: %d", a.status)
	}
	conns[0].Close()
	waitFor(t, "a place when one has left", func() bool { return s.do(t, http.MethodGet, "/v2/", nil).status == http.StatusUnauthorized })
}

// tokenOf is a token of Harbor's for a user who may push.
func tokenOf(t *testing.T, user string) string {
	t.Helper()
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "harbor-token-issuer", "aud": "harbor-registry", "sub": user, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"access": []registry.Access{{Type: "repository", Name: "multi-dc-demo/app", Actions: []string{"pull", "push"}}}}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + raw
}

// One user's manifests take a part of the memory for manifests that are being pushed: others
// can push meanwhile.
func TestOneUsersManifestsLeaveRoomForOthers(t *testing.T) {
	s := newSite(t)
	const size = 4<<20 - 1
	var refused atomic.Int64
	part := make([]byte, size-1)
	for range 8 { // of which 4 have their share of 16 MiB
		p := s.announce(t, tokenOf(t, "greedy"), size)
		p.Write(part) //nolint:errcheck // who is refused is not read to the end
		go func() {
			if resp, err := http.ReadResponse(p.in, nil); err == nil && resp.StatusCode == http.StatusServiceUnavailable {
				refused.Add(1)
			}
		}()
	}
	waitFor(t, "the greedy one to be refused", func() bool { return refused.Load() >= 4 })
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, types.OCIImageIndex)
	header := map[string]string{"Authorization": tokenOf(t, "modest"), "Content-Type": string(types.OCIImageIndex)}
	if status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/manifests/small", header, strings.NewReader(body)); status != http.StatusCreated {
		t.Errorf("another user's push: %d", status)
	}
}

// A webhook that shows no secret is refused before a byte of it is read.
func TestAStrangersWebhookIsNotRead(t *testing.T) {
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.WebhookSecrets = func(string) []string { return []string{secret} }
	})
	conn, err := net.Dial("tcp", host(s.edge.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
	fmt.Fprint(conn, "POST /breakwater/v1/webhook HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000000\r\n\r\n")
	line := make([]byte, len("HTTP/1.1 403"))
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 403" {
		t.Errorf("%s, %v", line, err)
	}
}
