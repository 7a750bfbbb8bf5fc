package fetch

import (
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/registry"
)

// Only who is known to hold a whole blob, and to honour ranges, is asked for parts of it: a
// Harbor or a peer that is fetching it would fetch it again for each.
func TestWhoIsAskedForParts(t *testing.T) {
	ranges := []string{"Accept-Ranges", "bytes"}
	with := func(headers ...string) trial.Answer {
		return serve(layer, append(headers, "Content-Type", "application/octet-stream")...)
	}
	part := with("Content-Range", "bytes 0-3/14", "Content-Length", "4")
	part.Status, part.Body = http.StatusPartialContent, layer[:4]
	for name, c := range map[string]struct {
		from string // the source
		say  trial.Answer
		want int
	}{
		"a Harbor that holds it":            {"harbor", with(ranges...), 8},
		"a Harbor's storage sends a part":   {"harbor", part, 8},
		"a Harbor that says no ranges":      {"harbor", with(), 0},
		"a Harbor that takes none":          {"harbor", with("Accept-Ranges", "none"), 0},
		"a Harbor that does not say enough": {"harbor", with("Accept-Ranges", "bytes", "Content-Length", ""), 0},
		"a peer that holds it":              {"peer-mad1", with("Accept-Ranges", "bytes", "Cache-Status", "breakwater; hit"), 8},
		"a peer that sends what it holds":   {"peer-mad1", with("Accept-Ranges", "bytes", "Cache-Status", "breakwater; hit; unverified"), 8},
		"a peer that is fetching it":        {"peer-mad1", with("Accept-Ranges", "bytes", "Cache-Status", "breakwater; fwd=miss; detail=harbor; stored"), 0},
		"a peer that joins":                 {"peer-mad1", with("Accept-Ranges", "bytes", "Cache-Status", "breakwater; fwd=miss; collapsed"), 0},
		"a peer that says nothing of it":    {"peer-mad1", with(ranges...), 0},
		"an upstream":                       {"upstream-hub", with(ranges...), 4},
		"an upstream that counts":           {"upstream-hub", with("Accept-Ranges", "bytes", "Ratelimit-Remaining", "76;w=21600"), 1},
		"what is encoded":                   {"upstream-hub", with("Accept-Ranges", "bytes", "Content-Encoding", "gzip"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if strings.Contains(name, "not say enough") {
				c.say.Body = strings.Repeat("long enough to leave without a length ", 1<<10)
			}
			w.harbor.Say(at(nginx), c.say)
			w.mad1.Say(at(nginx), c.say)
			w.hub.Say(at("nginx"), c.say)
			_, sources := w.transfer(blobOf(nginx, layerDigest))
			for _, s := range sources {
				if s.Name != c.from {
					continue
				}
				body, err := s.Open(t.Context(), 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				body.Close()
				if body.Parts != c.want {
					t.Errorf("%d bodies", body.Parts)
				}
			}
		})
	}
}

// An upstream that has refused a request for their number is asked for no parts.
func TestAnUpstreamThatHasHadEnough(t *testing.T) {
	w := newWorld(t)
	hub := w.Routes.Upstream("cache-hub")
	for _, c := range []struct {
		status int
		header http.Header
		want   int
	}{{200, nil, 4}, {200, http.Header{"Ratelimit-Remaining": {"76;w=21600"}}, 1}, {200, nil, 1}, {429, nil, 1}, {200, nil, 1}} {
		hub.Note(0, &http.Response{StatusCode: c.status, Header: c.header})
		if n := hub.Bodies(); n != c.want {
			t.Errorf("after %d %v: %d bodies", c.status, c.header, n)
		}
	}
}

// What an upstream says to a request for a part is no pause for pulls that need no parts.
func TestNoPauseFollowsAPart(t *testing.T) {
	for _, part := range []bool{true, false} {
		w := newWorld(t)
		w.hub.Say(at("nginx"), trial.Answer{Status: http.StatusTooManyRequests})
		hub, req, ctx := w.Routes.Upstream("cache-hub"), registry.Request{Method: http.MethodGet, Kind: registry.KindBlob, Repo: "nginx", Digest: layerDigest}, t.Context()
		if part {
			ctx = source.Beside(ctx)
		}
		resp, err := hub.Do(ctx, req, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if paused := hub.Limited(req) != nil; paused == part || hub.Bodies() != 1 {
			t.Errorf("a part %v: paused %v, %d bodies", part, paused, hub.Bodies())
		}
	}
}
