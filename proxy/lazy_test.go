package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.org/breakwater/internal/lab"
)

// spans reads an answer to a request of ranges: what it has of the blob must be the blob's, and
// all that was asked for must be in it.
func spans(resp *http.Response, content []byte, asked string) error {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK { // RFC 9110 lets a server send the whole
		return equal(resp.Body, content)
	}
	if resp.StatusCode != http.StatusPartialContent {
		return errors.New(resp.Status)
	}
	part := func(said string, body io.Reader) error {
		var first, last, size int
		if _, err := fmt.Sscanf(said, "bytes %d-%d/%d", &first, &last, &size); err != nil || size != len(content) || last >= size {
			return fmt.Errorf("the Content-Range is %q", said)
		}
		return equal(body, content[first:last+1])
	}
	kind, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "multipart/byteranges" {
		return part(resp.Header.Get("Content-Range"), resp.Body)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for n := 0; ; n++ {
		p, err := parts.NextPart()
		if err == io.EOF && n == strings.Count(asked, ",")+1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d parts: %w", n, err)
		}
		if err := part(p.Header.Get("Content-Range"), p); err != nil {
			return err
		}
	}
}

// Clients that read a layer in parts get the right ones, of a layer that is held and of one that
// is not, also where Harbor is fetching it itself; and Harbor sends little more than the layer.
func TestHowLazyClientsRead(t *testing.T) {
	const size = 12 << 20
	closed := func(n int) (all []string) { // n parts, as containerd 2 fetches them
		for i := range n {
			all = append(all, fmt.Sprintf("%d-%d", size/n*i, size/n*(i+1)-1))
		}
		return all
	}
	small := func(n int) (all []string) { // files of a layer, from its end to its beginning
		for i := n; i > 0; i-- {
			all = append(all, fmt.Sprintf("%d-%d", size/n*i-5000, size/n*i-1))
		}
		return all
	}
	for name, c := range map[string]struct {
		first string // alone, before the others: the footer
		then  []string
	}{
		"containerd 2, parallel":     {"", closed(8)},
		"stargz, a footer first":     {"-51", append(small(20), "-51", "0-0")},
		"SOCI, many small ones":      {"", small(100)},
		"zstd:chunked, many a time":  {fmt.Sprintf("%d-%d", size-64, size-1), []string{"0-10,20-30", fmt.Sprintf("5-9,%d-", size-9), "0-0,-1", "100-200,300-400,9000000-9000100"}},
		"nydus, at random and twice": {"0-4095", []string{"8388608-8392703", "4096-8191", "11534336-", "4096-8191", "10485760-10489855"}},
	} {
		for _, faults := range [][]lab.Fault{nil, {{Name: "ignore-range"}, {Name: "no-length"}, {Name: "slow", Bytes: 64 << 20}}} {
			t.Run(fmt.Sprintf("%s, %d faults", name, len(faults)), func(t *testing.T) {
				cold := newCold(t, size)
				cold.faults(t, faults...)
				cold.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", cold.header) // as every client does first
				for _, when := range []string{"cold", "warm"} {
					if c.first != "" {
						if err := spans(cold.get(t.Context(), t, c.first), cold.content, c.first); err != nil {
							t.Errorf("%s, %s: %v", when, c.first, err)
						}
					}
					var all sync.WaitGroup
					for _, span := range c.then {
						all.Go(func() {
							if err := spans(cold.get(t.Context(), t, span), cold.content, span); err != nil {
								t.Errorf("%s, %s: %v", when, span, err)
							}
						})
					}
					all.Wait()
					if when == "cold" { // what reads little leaves the rest coming
						resp := cold.get(t.Context(), t, "")
						err := equal(resp.Body, cold.content)
						if resp.Body.Close(); err != nil {
							t.Error(err)
						}
					}
				}
				if sent := cold.harbor.Sent()["GET "+cold.path]; sent > size*12/10 {
					t.Errorf("Harbor sent %d bytes of a blob of %d", sent, size)
				}
			})
		}
	}
}

// Who reads a layer's footer first gets it before the layer has come, where Harbor knows ranges.
func TestAFooterComesBeforeItsLayer(t *testing.T) {
	const size = 32 << 20
	c := newCold(t, size)
	rest := make(chan struct{})
	harbor := before(t, c.harbor.URL(), func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != c.path || r.Method != http.MethodGet || r.Header.Get("Range") != "" {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(c.content[:1<<20])            //nolint:errcheck // the edge is gone
		http.NewResponseController(w).Flush() //nolint:errcheck // as above
		select {
		case <-rest:
		case <-r.Context().Done():
		}
		w.Write(c.content[1<<20:]) //nolint:errcheck // as above
		return true
	})
	c.edge = startEdge(t, harbor, t.TempDir(), &c.harbor.Key().PublicKey)
	c.do(t, http.MethodGet, "/v2/multi-dc-demo/app/manifests/v1", c.header)
	whole := c.get(t.Context(), t, "")
	defer whole.Body.Close()
	if err := spans(c.get(t.Context(), t, "-51"), c.content, "-51"); err != nil {
		t.Error(err)
	}
	close(rest)
	if err := equal(whole.Body, c.content); err != nil {
		t.Error(err)
	}
}
