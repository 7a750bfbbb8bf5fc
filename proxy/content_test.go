package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
	edges "example.org/breakwater/proxy/content"
	"example.org/breakwater/proxy/peer"
)

// contents asks an edge what the fleet has.
func (s *site) contents(t *testing.T, query string) (r edges.Report) {
	t.Helper()
	if code := s.operate(t, http.MethodGet, "/content?"+query, nil, &r); code != http.StatusOK {
		t.Fatalf("%s: status %d", query, code)
	}
	return r
}

// A tag is seen in each datacenter side by side, what was deleted is, and who cannot be asked is
// said to be so.
func TestContentSideBySide(t *testing.T) {
	r := newRegion(t, quick, remembering(t))
	par1, drp1 := r.sites[0], r.sites[2]
	img := image(t, 1000, 1)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		mustPush(t, par1.edge.URL, "multi-dc-demo/app:"+tag, img, basic(writer, secret))
	}
	mustPush(t, par1.edge.URL, "multi-dc-demo/tool:v1", img, basic(writer, secret))
	trial.Until(t, func() error {
		all := par1.contents(t, "repo=multi-dc-demo/app")
		if len(all.Tags) != 2 || all.Kind != "multi-dc" || all.Next != "" || len(all.Datacenters) != 3 {
			return fmt.Errorf("%+v", all)
		}
		for _, row := range all.Tags {
			for _, datacenter := range []string{"par1", "mad1", "drp1"} {
				if c := row.In[datacenter]; c.State != edges.Same || c.Digest.String() != d.String() || c.Version == nil || c.Version.Datacenter != "par1" || c.Owed != 0 {
					return fmt.Errorf("%s in %s: %+v", row.Tag, datacenter, c)
				}
			}
			if row.Digest.String() != d.String() || row.Differ || !row.In["par1"].Held {
				return fmt.Errorf("%+v", row)
			}
		}
		return nil
	})
	trial.Until(t, func() error { // what was learned is written once a second
		all := par1.contents(t, "project=multi-dc-demo&limit=1")
		if len(all.Repos) != 1 || all.Repos[0].Repo != "multi-dc-demo/app" || all.Repos[0].Tags["mad1"] != 2 || all.Next != "multi-dc-demo/app" || len(all.Projects) == 0 {
			return fmt.Errorf("%+v", all)
		}
		if rest := par1.contents(t, "project=multi-dc-demo&limit=1&after="+all.Next); len(rest.Repos) != 1 || rest.Repos[0].Repo != "multi-dc-demo/tool" || rest.Next != "" {
			return fmt.Errorf("%+v", rest)
		}
		return nil
	})
	for query, rows := range map[string]int{"match=oo": 1, "match=none": 0, "project=repl-core": 0, "": 2} {
		if all := par1.contents(t, query); len(all.Repos) != rows {
			t.Errorf("%s: %+v", query, all.Repos)
		}
	}
	if a := par1.do(t, http.MethodDelete, "/v2/multi-dc-demo/app/manifests/v2", map[string]string{"Authorization": "Bearer " + par1.token(t, "admin", "repository:multi-dc-demo/app:pull,delete")}); a.status >= 500 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	drp1.stops()
	all := par1.contents(t, "repo=multi-dc-demo/app&match=1")
	if len(all.Tags) != 1 || all.Datacenters[2].Error == "" || all.Datacenters[1].Error != "" {
		t.Errorf("%+v", all)
	}
}

// What a peer says that nobody can know is not shown: what is no name or digest, what is of another
// project than one of the fleet, and more than was asked for.
func TestContentOfAPeerThatLies(t *testing.T) {
	r := newRegion(t, quick, remembering(t))
	par1, mad1 := r.sites[0], r.sites[1]
	mad1.stops()
	mad1.answers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != peer.ContentPath:
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Query().Get("repo") == "":
			fmt.Fprint(w, `{"repos":[{"repo":"multi-dc-demo/app","tags":2},{"repo":"multi-dc-demo/app2","tags":-2},{"repo":"<b>","tags":1},{"repo":"plain/app","tags":1},{"repo":"multi-dc-demo/a","tags":1}],"until":"../x"}`)
		default:
			fmt.Fprintf(w, `{"tags":[{"tag":"v1","digest":%q},{"tag":"v2","digest":"sha256:1"},{"tag":"v3","owed_seconds":-1},{"tag":"<b>"},{"tag":"v4"},{"tag":"v5"}],"until":"v1"}`, noteDigest("one"))
		}
	}))
	if all := par1.contents(t, "match=a"); len(all.Repos) != 2 || all.Repos[0].Repo != "multi-dc-demo/a" || all.Repos[1].Tags["mad1"] != 2 || all.Next != "" {
		t.Errorf("%+v", all)
	}
	if all := par1.contents(t, "repo=multi-dc-demo/app&limit=2"); len(all.Tags) != 1 || all.Tags[0].Digest.String() != noteDigest("one") || all.Next != "v1" {
		t.Errorf("%+v", all)
	}
}

// Nobody but a peer is told what there is; and a question that makes no sense is refused.
func TestContentIsForPeersAlone(t *testing.T) {
	r := newRegion(t, quick, remembering(t))
	s := r.sites[0]
	mustPush(t, s.edge.URL, "multi-dc-demo/secret:v1", image(t, 1000, 1), basic(writer, secret))
	for name, header := range map[string]map[string]string{"nobody": nil, "a client": s.as(t, writer, "multi-dc-demo/secret"), "who says so": {peer.AskedHeader: "mad1", "Authorization": "Bearer x"}} {
		for _, path := range []string{peer.ContentPath, peer.ContentPath + "?repo=multi-dc-demo/secret"} {
			if a := s.do(t, http.MethodGet, path, header); a.status != http.StatusForbidden || strings.Contains(string(a.body), "secret") {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		if a := s.do(t, http.MethodGet, "/content?repo=multi-dc-demo/secret", header); a.status == http.StatusOK && strings.Contains(string(a.body), "sha256:") {
			t.Errorf("%s, of the public listener: %s", name, a.body)
		}
	}
	for _, query := range []string{"repo=UPPER", "repo=a%00b", "project=a/b", "limit=0", "limit=201", "limit=x", "match=" + strings.Repeat("x", 129), "after=../x"} {
		if code := s.operate(t, http.MethodGet, "/content?"+query, nil, nil); code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, code)
		}
	}
}
