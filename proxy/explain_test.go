package proxy_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
)

func TestExplainSaysWhereAReferenceWouldComeFrom(t *testing.T) {
	t.Parallel() // it waits most of the time
	r := newRegion(t, freshFor(time.Minute))
	s := r.sites[0]
	mux := http.NewServeMux()
	s.edge.Config.Handler.(*proxy.Handler).Admin(mux)
	admin := httptest.NewServer(mux)
	defer admin.Close()
	explain := func(ref string) (status int, x struct {
		Reference, Kind, Digest, Source, Answer string
		Held                                    bool
		Route                                   []struct{ Source, Repo, State string }
		Touch                                   *struct{ State, Says string }
	}) {
		t.Helper()
		resp, err := http.Get(admin.URL + "/explain?ref=" + url.QueryEscape(ref))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		json.NewDecoder(resp.Body).Decode(&x) //nolint:errcheck // an error's body is a sentence
		return resp.StatusCode, x
	}
	img := image(t, 100, 1)
	mustPush(t, r.hub.URL(), "library/app:v1", img, authn.Anonymous)
	d, _ := img.Digest()
	if _, x := explain("cache-dockerhub/app:v1"); x.Reference != "cache-dockerhub/library/app:v1" || x.Held || len(x.Route) != 4 || !strings.Contains(x.Answer, "harbor is asked first") {
		t.Errorf("%+v", x)
	}
	r.warm(t, s, cell{repo: "cache-dockerhub/library/app", image: img})
	if _, x := explain("harbor.example.org/cache-dockerhub/library/app:v1"); !x.Held || x.Digest != d.String() || x.Source != "harbor" || !strings.HasPrefix(x.Answer, "Served from the store") || x.Touch == nil || x.Touch.State != "off" || x.Touch.Says == "" {
		t.Errorf("%+v", x)
	}
	h := s.header(t, "cache-dockerhub/library/other")
	if err := s.harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	s.do(t, http.MethodGet, manifests("cache-dockerhub/library/other"), h)
	waitFor(t, "Harbor's state", func() bool {
		_, x := explain("cache-dockerhub/library/other:v1")
		return x.Route[0].State == "down" && strings.Contains(x.Answer, "peer-mad1 is asked first")
	})
	// A rule brings what a repl- project lacks, and only for the tags that it is for.
	if _, x := explain("repl-core/app:v1"); len(x.Route) != 5 || x.Route[3].Repo != "cache-dockerhub/library/app" || x.Route[4].Source != "upstream-dockerhub" {
		t.Errorf("%+v", x)
	}
	if _, x := explain("repl-core/app:latest"); len(x.Route) != 3 {
		t.Errorf("%+v", x)
	}
	if _, x := explain("library/app@" + d.String()); x.Kind != "plain" || len(x.Route) != 1 || x.Touch != nil {
		t.Errorf("%+v", x)
	}
	for _, ref := range []string{"", "UPPER/case:v1", "a:b:c", "repo@sha256:x", "repo:" + strings.Repeat("x", 129)} {
		if status, _ := explain(ref); status != http.StatusBadRequest {
			t.Errorf("%q: %d", ref, status)
		}
	}
}
