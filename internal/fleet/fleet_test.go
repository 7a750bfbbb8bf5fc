package fleet

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected faults")

// TestFaults loads testdata/<what is wrong>.yaml, a file a mistake, and compares
// all that is said of it.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "minimal" || name == "every-field" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load("fleet.yaml", data)
			if err == nil {
				t.Fatal("nothing is wrong with it")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is printed:\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestExampleLoads(t *testing.T) {
	f, err := ReadFile("../../deploy/fleet.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	hub := f.Projects.Cache.Items["dockerhub"]
	quay := f.Projects.Cache.Items["quay.io"]
	image := f.Projects.Repl.Items["kubernetes-core"].Images[0]
	for what, ok := range map[string]bool{
		"par1 is primary":              f.Datacenters["par1"].Role == Primary && *f.Datacenters["par1"].Weight == 1,
		"mad1 weighs 2":                *f.Datacenters["mad1"].Weight == 2,
		"drp1 has no scanner":          f.Datacenters["drp1"].ProjectDefaults.AutoScan != nil && !*f.Datacenters["drp1"].ProjectDefaults.AutoScan,
		"the cache's own quota":        hub.Quota == 2<<40,
		"the default's retention":      quay.Retention.PulledWithin == Duration(30*day) && quay.Retention.MostRecentlyPulled == 0,
		"a cache is a docker-registry": quay.Provider == "docker-registry",
		"a repo's own quota":           f.Projects.MultiDC.Items["repo2"].Quota == 20<<30 && f.Projects.MultiDC.Items["repo1"].Quota == 10<<30,
		"the default's robots":         f.Projects.MultiDC.Items["repo1"].Robots.Sync.String() == "vault:secret/harbor#robot-password/replication/{name}",
		"an image's default interval":  image.Every == Duration(day) && image.Flatten.Count == -1,
		"a secret is a reference":      hub.Password == Ref{"vault", "secret/harbor", "dockerhub-password"},
		"a plain user name":            f.Projects.Artifactory.Username.Value == "harbor-ro",
		"freshness":                    time.Duration(*f.Edge.Freshness.Cache) == time.Minute && *f.Edge.Freshness.MultiDC == 0,
		"the store":                    f.Edge.Store.Size == 500<<30,
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
}

func TestMinimalFleetIsTenLines(t *testing.T) {
	data, err := os.ReadFile("testdata/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n > 10 {
		t.Errorf("%d lines", n)
	}
	f, err := Load("minimal.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	hub := f.Projects.Cache.Items["dockerhub"]
	if f.Datacenters["par1"].Role != Primary || hub.Endpoint != "https://hub.docker.com" || hub.Quota != 1<<40 || f.Edge.Listen != ":443" || f.Harbor.RobotPrefix != "robot$" {
		t.Errorf("%+v", f)
	}
}

func TestHoleInANetworkIsLegal(t *testing.T) {
	_, err := Load("f", []byte(`domain: h.example.org
datacenters:
  par1: { harbor: "https://a.example.org", networks: [10.0.0.0/8] }
  mad1: { harbor: "https://b.example.org", networks: [10.2.0.0/16] }
`))
	if err != nil {
		t.Error(err)
	}
}

func TestPlainHTTPIsForLoopbackOrOnRequest(t *testing.T) {
	for listen, plain := range map[string]bool{"127.0.0.1:5000": true, "[::1]:5000": true, "localhost:5000": true, ":5000": false, "192.0.2.1:5000": false} {
		f, err := Load("f", []byte("domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\" } }\nedge: { listen: \""+listen+"\" }\n"))
		if (err == nil) != plain || err == nil && !f.Edge.PlainHTTP {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

func TestAProjectsOwnWordWinsOverTheDefaults(t *testing.T) {
	f, err := Load("f", []byte(`domain: h.example.org
datacenters: { par1: { harbor: "https://a.example.org" } }
projects:
  cache:
    defaults: { public: true }
    open: { endpoint: "https://b.example.org" }
    closed: { endpoint: "https://c.example.org", public: false }
`))
	if err != nil {
		t.Fatal(err)
	}
	if c := f.Projects.Cache.Items; !*c["open"].Public || *c["closed"].Public {
		t.Error("public: false was overruled by the defaults")
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, "../../deploy/fleet.example.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, c := range broken {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Load("fleet.yaml", data)
		var faults Faults
		if err == nil {
			return
		}
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		for _, fault := range faults {
			if fault.Line < 1 && fault.Field != "" || fault.Message == "" {
				t.Errorf("%+v", fault)
			}
			if lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1; fault.Line > lines {
				t.Errorf("there are %d lines: %+v", lines, fault)
			}
			if strings.HasPrefix(fault.Message, notYAML) && jargon.MatchString(fault.Message) {
				t.Errorf("that is the parser's language: %+v", fault)
			}
		}
	})
}

// A name server that is told of nobody says to nobody why it answers what: a forwarder on its
// own machine would ask for all of its clients.
func TestNobodyMayAskWhyByDefault(t *testing.T) {
	f, err := Load("f", []byte("domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\", addresses: [192.0.2.1], gslb: [192.0.2.53] } }\ngslb: {}\n"))
	if err != nil || len(f.GSLB.Explain) > 0 {
		t.Errorf("%v may ask, %v", f.GSLB.Explain, err)
	}
}
