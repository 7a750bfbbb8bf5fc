package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/proxy/traffic"
)

// A real edge says what it brought, to people and as JSON.
func TestTrafficOfAnEdge(t *testing.T) {
	edge := edgeOfACache(t)
	if got := program(t, nil, "warm", "--admin", edge, "cache-hub/app:v1"); got.status != 0 {
		t.Fatal(got.stderr)
	}
	got := program(t, nil, "traffic", "--json", "--admin", edge)
	var r traffic.Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || r.Datacenter != "par1" || r.Start.FromHarbor < 2000 || r.Sources[0].Bytes != r.Start.FromHarbor || !strings.HasPrefix(got.stdout, `{"format":1,`) {
		t.Errorf("%v: %s%s", err, got.stdout, got.stderr)
	}
	got = program(t, nil, "traffic", "--admin", edge)
	for _, want := range []string{`^par1 +last \d+s +since 2`, `\ncontent from the store +nothing was read +nothing was read\n`, `\nfrom upstreams +0.0 MiB +0.0 MiB\n`, `\nharbor +up +0.0 MiB +0.0 MiB +it has not said\n`} {
		if !regexp.MustCompile(want).MatchString(got.stdout) || got.status != 0 {
			t.Errorf("no %s in\n%s%s", want, got.stdout, got.stderr)
		}
	}
	if got = program(t, nil, "fills", "--admin", edge); got.stdout != "nothing comes into the store of par1\n" {
		t.Errorf("%s%s", got.stdout, got.stderr)
	}
}

// What comes is a line each; what is not known is said in words.
func TestFillsAsPeopleReadThem(t *testing.T) {
	edge := httptest.NewServer(daemon.Named(daemon.Edge, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"datacenter":"par1","count":2,"bytes":4194304,"bytes_to_go":1048576,"fills":[
			{"digest":"sha256:0123456789abcdef0123","project":"multi-dc-demo","repo":"multi-dc-demo/app","size":4194304,"bytes":3145728,"rate":2097152,"sources":["harbor","peer-mad1"],"bodies":4,"readers":2,"seconds":1.5},
			{"digest":"sha256:fedcba9876543210fedc","project":"cache-hub","size":-1,"bytes":1048576,"sources":[],"warming":true,"seconds":60}]}`)
	})))
	defer edge.Close()
	got := program(t, nil, "fills", "--admin", edge.URL)
	for _, want := range []string{"par1: 2 under way, 4.0 MiB are there, 1.0 MiB to go", "sha256:0123456789ab  multi-dc-demo/app   75 % of 4.0 MiB  2.0 MiB   harbor, peer-mad1", "cache-hub          1.0 MiB           0.0 MiB   nobody has answered yet  0        warming  1m0s"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s%s", want, got.stdout, got.stderr)
		}
	}
}
