package pass_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/proxy/pass"
	"example.org/breakwater/registry"
)

// wary is a Harbor that says something when it has read a request's header, and reads the body
// when that is a 100.
func wary(t *testing.T, says string, body chan<- string) *pass.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.WriteString(conn, says) //nolint:errcheck // the test sees it
		if says == "" || strings.Contains(says, " 100 ") {
			all, _ := io.ReadAll(req.Body)
			body <- string(all)
			io.WriteString(conn, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n") //nolint:errcheck // as above
			return
		}
		rest, _ := io.ReadAll(in) // until the connection ends
		body <- string(rest)
	}()
	source, err := registry.NewSource(registry.SourceConfig{URL: "http://" + l.Addr().String(), Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	return pass.ToHarbor("harbor", source)
}

// A client may ask before it sends a blob (Expect: 100-continue). Harbor's refusal reaches it
// before the blob has left, and its 100 when Harbor wants the blob.
func TestABlobThatIsRefusedIsNotSent(t *testing.T) {
	const blob = "a blob's bytes"
	for name, c := range map[string]struct {
		harbor string // at the header
		want   string // of the status lines that the client reads
		sent   bool
	}{
		"401":                           {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "401", false},
		"413, and the connection stays": {"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "413", false},
		"100":                           {"HTTP/1.1 100 Continue\r\n\r\n", "100 201", true},
		"nothing":                       {"", "100 201", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // one waits for a second
			body := make(chan string, 1)
			proxy := wary(t, c.harbor, body)
			edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := proxy.Serve(w, r, pass.Call{}); err != nil {
					t.Error(err)
				}
			}))
			t.Cleanup(edge.Close)
			conn, err := net.Dial("tcp", edge.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "PUT /v2/p/a/blobs/uploads/1?digest=d HTTP/1.1\r\nHost: edge\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(blob))
			in := bufio.NewReader(conn)
			said := ""
			for said == "" || strings.HasSuffix(said, "100") {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("after %q: %v", said, err)
				}
				said = strings.TrimSpace(said + " " + fmt.Sprint(resp.StatusCode))
				if resp.StatusCode == http.StatusContinue {
					io.WriteString(conn, blob) //nolint:errcheck // Harbor sees it
				}
			}
			conn.Close()
			edge.Close()
			if got := <-body; said != c.want || (got == blob) != c.sent || !c.sent && got != "" {
				t.Errorf("the client reads %q, Harbor %q", said, got)
			}
		})
	}
}
