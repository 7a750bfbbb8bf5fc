package proxy_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"example.org/breakwater/internal/lab"
)

var update = flag.Bool("update", false, "write what the tests found into guarantees.md")

// cell is one image in one of the states, in one of the namespaces.
type cell struct {
	namespace, state, repo string
	image                  v1.Image
	header                 map[string]string
}

var (
	matrixNamespaces = []string{"cache-*", "repl-*", "multi-dc-*"}
	matrixStates     = []string{"nothing held", "a copy held", "a peer holds it"}
)

// row is one fault: of the local Harbor or of the upstream.
type row struct {
	name     string
	harbor   []lab.Fault
	upstream []lab.Fault
	gone     bool // the projects are
}

const content = "^(GET|HEAD) /v2/.+"

var rows = []row{
	{name: "all are well"},
	{name: "Harbor refuses connections", harbor: []lab.Fault{{Name: "down"}}},
	{name: "Harbor hangs", harbor: []lab.Fault{{Name: "hang"}}},
	{name: "Harbor is slow", harbor: []lab.Fault{{Name: "slow", Bytes: 2000}}},
	{name: "Harbor 500", harbor: []lab.Fault{{Name: "500", Path: content}}},
	{name: "Harbor 502", harbor: []lab.Fault{{Name: "502"}}},
	{name: "Harbor's database is down", harbor: []lab.Fault{{Name: "db-down"}}},
	{name: "Harbor's project is missing", gone: true},
	{name: "upstream refuses connections", upstream: []lab.Fault{{Name: "down"}}},
	{name: "upstream hangs", upstream: []lab.Fault{{Name: "hang"}}},
	{name: "upstream 401", upstream: []lab.Fault{{Name: "401", Path: content}}},
	{name: "upstream 403", upstream: []lab.Fault{{Name: "403", Path: content}}},
	{name: "upstream 404", upstream: []lab.Fault{{Name: "404", Path: content}}},
	{name: "upstream 429", upstream: []lab.Fault{{Name: "429", Path: content}}},
	{name: "upstream 429, Retry-After", upstream: []lab.Fault{{Name: "429", Path: content, RetryAfter: 7}}},
	{name: "upstream 429 to everything", upstream: []lab.Fault{{Name: "429", Path: "^(GET|HEAD) /v2/"}}},
	{name: "upstream 500", upstream: []lab.Fault{{Name: "500", Path: content}}},
	{name: "upstream sends HTML", upstream: []lab.Fault{{Name: "html", Path: content}}},
}

// fill puts the images where they are before the fault. Where Harbor is what
// fails it holds what it would hold; where the upstream is, only the upstream does.
func (r *region) fill(t *testing.T, row row) (cells []cell) {
	t.Helper()
	s, mad1 := r.sites[0], r.sites[1]
	seed := byte(1)
	for _, namespace := range matrixNamespaces {
		for i, state := range matrixStates {
			seed++
			c := cell{namespace: namespace, state: state, image: image(t, 1000, seed)}
			name := fmt.Sprintf("%c%d", namespace[0], i)
			switch namespace {
			case "cache-*":
				c.repo = "cache-dockerhub/library/" + name
				mustPush(t, r.hub.URL(), "library/"+name+":v1", c.image, authn.Anonymous)
			case "repl-*":
				c.repo = "repl-core/" + name
			case "multi-dc-*":
				c.repo = "multi-dc-demo/" + name
			}
			user := reader
			if namespace != "multi-dc-*" {
				user = ""
			}
			if namespace == "repl-*" && state != "a peer holds it" {
				mustPush(t, r.hub.URL(), "library/"+name+":v1", c.image, authn.Anonymous)
			}
			switch {
			case namespace == "cache-*" && state == "a peer holds it":
				r.warm(t, mad1, c)
			case namespace == "cache-*":
			case state == "a peer holds it":
				mustPush(t, mad1.harbor.URL(), c.repo+":v1", c.image, mad1.admin())
			case namespace == "repl-*" && len(row.upstream) > 0 && state == "nothing held": // nor does Harbor hold it
			default:
				mustPush(t, s.harbor.URL(), c.repo+":v1", c.image, s.admin())
			}
			c.header = s.as(t, user, c.repo)
			if state == "a copy held" {
				r.warm(t, s, c)
			}
			cells = append(cells, c)
		}
	}
	return cells
}

// warm pulls the image through an edge.
func (r *region) warm(t *testing.T, s *site, c cell) {
	t.Helper()
	header := c.header
	if header == nil {
		header = s.as(t, "", c.repo)
	}
	raw, _ := c.image.RawManifest()
	same(t, "warm "+c.repo, s.do(t, http.MethodGet, "/v2/"+c.repo+"/manifests/v1", header), raw)
	digest, layer := layerOf(t, c.image)
	same(t, "warm "+c.repo, s.do(t, http.MethodGet, "/v2/"+c.repo+"/blobs/"+digest, header), layer)
	name, err := c.image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	config, _ := c.image.RawConfigFile()
	same(t, "warm "+c.repo, s.do(t, http.MethodGet, "/v2/"+c.repo+"/blobs/"+name.String(), header), config)
}

func (r *region) request(t *testing.T, method, url string, s *site, want int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s != nil {
		req.SetBasicAuth(s.harbor.Admin())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

// strike makes the fault happen.
func (r *region) strike(t *testing.T, row row, cells []cell) {
	t.Helper()
	s := r.sites[0]
	if err := s.harbor.SetFaults(row.harbor...); err != nil {
		t.Fatal(err)
	}
	if err := r.hub.SetFaults(row.upstream...); err != nil {
		t.Fatal(err)
	}
	if !row.gone {
		return
	}
	for _, c := range cells {
		if d, err := c.image.Digest(); err == nil && c.state != "a peer holds it" && (c.namespace != "cache-*" || c.state == "a copy held") {
			r.request(t, http.MethodDelete, s.harbor.URL()+"/v2/"+c.repo+"/manifests/"+d.String(), s, http.StatusAccepted)
		}
	}
	for _, project := range []string{"cache-dockerhub", "repl-core", "multi-dc-demo"} {
		r.request(t, http.MethodDelete, s.harbor.URL()+"/api/v2.0/projects/"+project, s, http.StatusOK)
	}
}

// outcome is what a client sees of the tag, in a word or two.
func (r *region) outcome(t *testing.T, row row, c cell) string {
	t.Helper()
	a := r.sites[0].do(t, http.MethodGet, "/v2/"+c.repo+"/manifests/v1", c.header)
	if a.status != http.StatusOK {
		word := fmt.Sprint(a.status)
		if want := codes[word]; want != nil && !slices.Contains(want, a.code()) {
			t.Errorf("%s: %d %s, want one of %q", c.repo, a.status, a.code(), want)
		}
		if wait, _ := strconv.Atoi(a.header.Get("Retry-After")); (word == nobody || word == tooMany) && wait < max(1, row.wait()) {
			t.Errorf("%s: %d with Retry-After %q", c.repo, a.status, a.header.Get("Retry-After"))
		}
		return word
	}
	raw, _ := c.image.RawManifest()
	d, _ := c.image.Digest()
	if string(a.body) != string(raw) || a.header.Get("Docker-Content-Digest") != d.String() {
		t.Errorf("%s: other bytes, or named so: %v", c.repo, a.header)
	}
	if strings.Contains(a.header.Get("Cache-Status"), "hit; fwd=stale") {
		return theCopy
	}
	kind, _, _ := strings.Cut(detail(a), "-")
	return map[string]string{"harbor": harbors, "peer": peers, "upstream": upstreams}[kind]
}

// wait is how many seconds the upstream itself asks for, 0 where it does not say.
func (r row) wait() int {
	for _, f := range r.upstream {
		return f.RetryAfter
	}
	return 0
}

// TestWhateverFails strikes every fault in every state of every namespace, and
// keeps the table of guarantees.md of what a client gets.
func TestWhateverFails(t *testing.T) {
	var mu sync.Mutex
	results := map[string]string{}
	t.Run("rows", func(t *testing.T) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				r := newRegion(t)
				cells := r.fill(t, row)
				r.strike(t, row, cells)
				var all sync.WaitGroup
				for _, c := range cells {
					all.Go(func() {
						got := r.outcome(t, row, c)
						if want := expected[row.name][c.namespace][slices.Index(matrixStates, c.state)]; got != want.outcome {
							t.Errorf("%s, %s: %s, want %s: %s", c.namespace, c.state, got, want.outcome, want.rule)
						}
						mu.Lock()
						defer mu.Unlock()
						results[row.name+c.namespace+c.state] = got
					})
				}
				all.Wait()
			})
		}
	})
	if !t.Failed() {
		inGuarantees(t, "what a client gets", matrixTable(results))
	}
}

func matrixTable(results map[string]string) string {
	var b strings.Builder
	b.WriteString("| | " + strings.Join(matrixNamespaces, " | | | ") + " | | |\n|---" + strings.Repeat("|---", 9) + "|\n|")
	for range matrixNamespaces {
		b.WriteString(" | " + strings.Join(matrixStates, " | "))
	}
	b.WriteString(" |\n")
	for _, row := range rows {
		b.WriteString("| " + row.name)
		for _, namespace := range matrixNamespaces {
			for _, state := range matrixStates {
				b.WriteString(" | " + results[row.name+namespace+state])
			}
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// guarantees is the page of what tests find.
const guarantees = "guarantees.md"

// inGuarantees compares a part of that page with what the test found, and writes it
// there with -update.
func inGuarantees(t *testing.T, name, text string) {
	t.Helper()
	page, err := os.ReadFile(guarantees)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(string(page), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no part %q", guarantees, name)
	}
	if old == text {
		return
	}
	if !*update {
		t.Errorf("%s differs from what was found; go test ./proxy -update writes:\n%s", guarantees, text)
		return
	}
	if err := os.WriteFile(guarantees, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
