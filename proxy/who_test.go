package proxy_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// A line of the log is short, whatever the client asks for.
func TestALogLineIsBounded(t *testing.T) {
	var log lockedBuffer
	s := newSite(t, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		p.Log = slog.New(slog.NewJSONHandler(&log, nil))
	})
	for _, path := range []string{"/v2/" + strings.Repeat("A", 50_000) + "/manifests/v1", "/" + strings.Repeat("a", 50_000), "/v2/multi-dc-demo/app/manifests/v1?ns=" + strings.Repeat("a", 50_000)} {
		s.do(t, http.MethodGet, path, nil)
	}
	waitFor(t, "three lines", func() bool { return strings.Count(log.String(), "\n") >= 3 })
	for line := range strings.Lines(log.String()) {
		if len(line) > 8<<10 {
			t.Errorf("a line of %d bytes: %.100s", len(line), line)
		}
	}
}

// The log names whom a Harbor knows. On a public project everybody is let in, whatever name
// the client shows: that is nobody's name.
func TestTheLogNamesOnlyWhoIsProven(t *testing.T) {
	for name, options := range map[string][]option{"with certificates": nil, "without": {withoutCertificates}} {
		t.Run(name, func(t *testing.T) {
			var log lockedBuffer
			s := newSite(t, append(options, func(_ *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
				p.Log = slog.New(slog.NewJSONHandler(&log, nil))
			})...)
			s.harbor.CreateProject("open", true)
			img := image(t, 1000, 1)
			for _, repo := range []string{"open/app", "repl-open/app", "plain/app", "multi-dc-demo/app"} {
				mustPush(t, s.harbor.URL(), repo+":v1", img, s.admin())
			}
			user, password := s.harbor.Admin()
			made := map[string]string{"Authorization": basicHeader(user, password)}
			up := map[string]string{"Authorization": s.as(t, reader, "repl-open/app")["Authorization"] + "x"} // a token that somebody has changed
			for _, c := range []struct {
				what, repo string
				header     map[string]string
				want       string
			}{
				{"a password, on a private project", "plain/app", made, user},
				{"a password, on a private managed project", "multi-dc-demo/app", made, user},
				{"a token, on a private project", "multi-dc-demo/app", s.as(t, reader, "multi-dc-demo/app"), reader},
				{"a name, on a public project", "open/app", made, "anonymous"},
				{"a name, on a public managed project", "repl-open/app", made, "anonymous"},
				{"nobody's token, on a public managed project", "repl-open/app", s.anonymous(t, "repl-open/app"), "anonymous"},
				{"a changed token, on a public project", "open/app", up, "anonymous"},
				{"a wrong password, on a private project", "multi-dc-demo/app", map[string]string{"Authorization": basicHeader(user, "wrong")}, ""},
			} {
				log.mu.Lock()
				log.Reset()
				log.mu.Unlock()
				a := s.do(t, http.MethodGet, manifests(c.repo), c.header)
				var entry struct {
					Endpoint, Who string
					Status        int
				}
				waitFor(t, "the log's line", func() bool {
					for line := range strings.Lines(log.String()) {
						if json.Unmarshal([]byte(line), &entry) == nil && entry.Endpoint == "manifest" {
							return true
						}
					}
					return false
				})
				if a.status < 400 && entry.Who != c.want || a.status >= 400 && entry.Who != "" || c.want == "" && a.status < 400 {
					t.Errorf("%s: %d, by %q, want %q", c.what, a.status, entry.Who, c.want)
				}
			}
		})
	}
}
