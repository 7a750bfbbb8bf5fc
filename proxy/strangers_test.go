package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// pushing is a PUT of a manifest whose body is on its way.
type pushing struct {
	net.Conn
	in *bufio.Reader
}

// announce begins a PUT of a manifest of so many bytes.
func (s *site) announce(t *testing.T, authorization string, length int) *pushing {
	t.Helper()
	conn, err := net.Dial("tcp", host(s.edge.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(trial.Patience)) //nolint:errcheck // a reading would fail too
	fmt.Fprintf(conn, "PUT /v2/multi-dc-demo/app/manifests/big HTTP/1.1\r\nHost: edge\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		authorization, types.OCIImageIndex, length)
	return &pushing{conn, bufio.NewReader(conn)}
}

func (p *pushing) answer(t *testing.T) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		t.Errorf("%v", err)
		return &http.Response{}
	}
	resp.Body.Close()
	return resp
}

// Who may not push is told so before a byte of the manifest is read: the bodies of
// strangers take no memory.
func TestAStrangersManifestIsNotReadFirst(t *testing.T) {
	s := newSite(t)
	_, mayPull := s.askToken(t, reader, secret, pullApp)
	for name, authorization := range map[string]string{
		"a wrong password":           basicHeader(writer, "wrong"),
		"nobody":                     basicHeader("nobody", secret),
		"who may only pull":          basicHeader(reader, secret),
		"a token for pulls":          "Bearer " + mayPull,
		"a token that is made up":    "Bearer " + mayPull[:len(mayPull)-8] + "AAAAAAAA",
		"something that is no token": "Bearer x",
	} {
		resp := s.announce(t, authorization, 4<<20-1).answer(t)
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	for request, n := range s.harbor.Requests() {
		if strings.HasPrefix(request, "PUT") && strings.Contains(request, "/manifests/") && n > 0 {
			return // Harbor itself says no
		}
	}
	t.Error("Harbor was not asked: the refusal is not its own")
}

// The manifests that are being pushed take so much memory together, and no more; who
// comes when it is taken is told to come again.
func TestManifestsThatAreBeingPushedAreBounded(t *testing.T) {
	s := newSite(t)
	const most, size = 64 << 20, 4<<20 - 1
	_, token := s.askToken(t, writer, secret, "repository:multi-dc-demo/app:pull,push")
	var all []*pushing
	part := make([]byte, size-1)
	for i := range most/(size+1) + 4 {
		p := s.announce(t, tokenOf(t, fmt.Sprint("user", i)), size)
		p.Write(part) //nolint:errcheck // who is refused is not read to the end
		all = append(all, p)
	}
	var refused atomic.Int32
	for _, p := range all {
		go func() {
			resp, err := http.ReadResponse(p.in, nil)
			if err != nil { // it was closed
				return
			}
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			refused.Add(1)
		}()
	}
	waitFor(t, "a refusal of those for whom nothing is left", func() bool { return refused.Load() >= 4 })
	for _, p := range all {
		p.Close()
	}
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, types.OCIImageIndex)
	waitFor(t, "a push when they are gone", func() bool {
		status, _ := s.send(t, http.MethodPut, "/v2/multi-dc-demo/app/manifests/small", map[string]string{"Authorization": "Bearer " + token, "Content-Type": string(types.OCIImageIndex)}, strings.NewReader(body))
		return status == http.StatusCreated
	})
}

// A manifest that never comes whole holds nothing for ever.
func TestAManifestThatDoesNotComeIsGivenUp(t *testing.T) {
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) { p.Stalled = 300 * time.Millisecond })
	_, token := s.askToken(t, writer, secret, "repository:multi-dc-demo/app:pull,push")
	p := s.announce(t, "Bearer "+token, 1000)
	fmt.Fprint(p, "{")
	if resp := p.answer(t); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", resp.StatusCode)
	}
}
