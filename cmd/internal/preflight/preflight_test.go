package preflight

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/lab"
)

// examine makes the checks with those ids of a fleet of one datacenter; edge is what stands
// in its sections beside where its listeners and its store are.
func examine(t *testing.T, depth Depth, harbor, edge, rest string, ids ...string) []Finding {
	t.Helper()
	text := fmt.Sprintf("domain: h.example.org\ndatacenters: { par1: { harbor: %q, addresses: [192.0.2.10], gslb: [192.0.2.53] } }\n"+
		"edge: { plain_http: true, listen: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\", store: { path: %q, size: 1MiB }%s }\n%s\n", harbor, t.TempDir(), edge, rest)
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found, err := Run(t.Context(), Config{Fleet: f, Datacenter: "par1", Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	var wanted []Finding
	for _, one := range found {
		check, _, _ := strings.Cut(one.ID, ".")
		for _, id := range ids {
			if check == id {
				wanted = append(wanted, one)
			}
		}
	}
	return wanted
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

const nobody = "http://127.0.0.1:1"

// What is found can be looked up, and what can be looked up is found.
func TestTheREADMEHasEveryID(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "## What a machine lacks")
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`r\.(?:fault|warn)\("([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
			if named++; m[1] != "unknown" && !strings.Contains(table, "`"+m[1]+"`") {
				t.Errorf("%s: cmd/README.md does not name %s", name, m[1])
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d were found in the code", named)
	}
}

// A clock is judged by a header that has whole seconds: what is near enough is not told.
func TestClocks(t *testing.T) {
	for name, c := range map[string]struct {
		off  time.Duration
		want bool
	}{"right": {0, false}, "four seconds behind": {-4 * time.Second, false}, "four ahead": {4 * time.Second, false}, "ten behind": {-10 * time.Second, true}, "ten ahead": {10 * time.Second, true}} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(c.off).UTC().Format(http.TimeFormat))
			})
			m := &machine{Config: Config{Now: time.Now}}
			a, err := newClient(m, nil).get(t.Context(), address, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := &results{}
			a.tryClock(r, "x", "its")
			if r.well() == c.want {
				t.Errorf("%+v", r.found)
			}
		})
	}
}

// A registry that is no Harbor has no robot and no health, and that is no fault.
func TestARegistryThatIsNoHarbor(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	})
	found := examine(t, Whole, address, "", "", "harbor", "robot", "tokens")
	if len(found) != 1 || found[0].Result != OK || !strings.Contains(found[0].What, "no Harbor") {
		t.Errorf("%+v", found)
	}
	login := serve(t, func(w http.ResponseWriter, r *http.Request) { // as nginx asks for one, before whatever
		w.Header().Set("WWW-Authenticate", `Basic realm="Registry"`)
		http.Error(w, "<html>", http.StatusUnauthorized)
	})
	if found := examine(t, Whole, login, "", "", "harbor"); len(found) != 1 || found[0].Result != OK || !strings.Contains(found[0].What, "no Harbor") {
		t.Errorf("with a login: %+v", found)
	}
	t.Setenv("PREFLIGHT_SECRET", "Robot1Secret2")
	found = examine(t, Whole, address, ", robot: { secret: \"env:PREFLIGHT_SECRET\" }", "", "robot")
	if len(found) != 1 || found[0].Result != Untried {
		t.Errorf("%+v", found)
	}
}

// What others say neither steers a terminal nor fills it.
func TestWhatOthersSay(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":"bad","components":[{"name":"core\u001b[2Jx\ny%s","status":"unhealthy"}]}`, strings.Repeat("z", 100<<10))
	})
	found := examine(t, Whole, address, "", "", "harbor")
	if len(found) != 1 || found[0].ID != "harbor.unhealthy" || len(found[0].What) > 1100 || strings.ContainsAny(found[0].What, "\x1b\n") {
		t.Errorf("%.300v", found)
	}
}

// Credentials are shown where the registry's challenge says, and to its own domain alone.
func TestAnUpstreamsCredentials(t *testing.T) {
	var realm string
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token" && user == "somebody" && password == "right" && r.URL.Query().Get("service") == "its":
			io.WriteString(w, `{"token":"x"}`) //nolint:errcheck // the client is gone
		case r.URL.Path == "/redirect":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		default:
			w.Header().Set("Www-Authenticate", `Bearer realm="`+realm+`",service="its"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	told := false
	elsewhere := strings.Replace(serve(t, func(http.ResponseWriter, *http.Request) { told = true }), "127.0.0.1", "localhost", 1)
	for _, c := range []struct{ password, realm, want string }{
		{"right", address + "/token", "upstream"},
		{"wrong", address + "/token", "upstream.login"},
		{"right", elsewhere + "/token", "upstream.realm"},
		{"right", address + "/redirect?to=" + elsewhere, "upstream.unknown"},
	} {
		realm = c.realm
		t.Setenv("PREFLIGHT_SECRET", c.password)
		found := examine(t, Whole, nobody, "", fmt.Sprintf("projects: { cache: { quay.io: { endpoint: %q, username: somebody, password: \"env:PREFLIGHT_SECRET\" } } }", address), "upstream")
		if len(found) != 1 || found[0].ID != c.want {
			t.Errorf("%s: %+v", c.want, found)
		}
	}
	if told {
		t.Error("credentials went elsewhere")
	}
}

// An AWS account's keys are tried where they count, and shown to no registry.
func TestAnAWSAccountsKeys(t *testing.T) {
	d := lab.Dialects[slices.IndexFunc(lab.Dialects, func(d lab.Dialect) bool { return d.Name == "ECR private" })]
	registry := lab.NewAbroad(d, "AWS", "a-token")
	api := &lab.TokenAPI{Registry: registry, Region: "eu-west-1", AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "the-secret-key", Lifetime: time.Hour}
	internet, err := lab.StartInternet(map[string]http.Handler{d.Host: registry, "api.ecr.eu-west-1.amazonaws.com": api})
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, internet.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]string{"the-secret-key": "upstream", "a-wrong-key": "upstream.login"} {
		t.Setenv("PREFLIGHT_SECRET", secret)
		found := examine(t, Whole, nobody, "", fmt.Sprintf("projects: { cache: { ecr: { provider: aws-ecr, endpoint: \"https://%s\", proxy: %q, ca: %q, username: AKIAIOSFODNN7EXAMPLE, password: \"env:PREFLIGHT_SECRET\" } } }", d.Host, internet.URL, ca), "upstream")
		if len(found) != 1 || found[0].ID != want || strings.Contains(fmt.Sprint(found), secret) {
			t.Errorf("%s: %+v", want, found)
		}
		if registry.Shown(secret) {
			t.Error("the registry was shown the secret key")
		}
	}
	if !registry.Shown("a-token") {
		t.Error("the registry was not shown the token")
	}
}

// Without a network nobody is asked, Vault neither.
func TestOffline(t *testing.T) {
	asked := false
	address := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	t.Setenv("PREFLIGHT_TOKEN", "x")
	found := examine(t, Offline, address, ", robot: { secret: \"vault:secret/a#b\" }", fmt.Sprintf("secrets: { vault: { address: %q, login: { token: \"env:PREFLIGHT_TOKEN\" } } }", address), "secrets", "harbor", "robot", "store", "ports")
	if asked || len(found) != 3 || found[0].Result != OK || !strings.Contains(found[0].What, "1 of Vault's") {
		t.Errorf("asked: %t, %+v", asked, found)
	}
}

func TestASecretThatIsNotInVault(t *testing.T) {
	t.Setenv("PREFLIGHT_TOKEN", "x")
	found := examine(t, Whole, nobody, ", robot: { secret: \"vault:secret/a#b\" }", fmt.Sprintf("secrets: { vault: { address: %q, login: { token: \"env:PREFLIGHT_TOKEN\" } } }", nobody), "secrets", "robot")
	if len(found) != 2 || found[0].ID != "secrets.missing" || found[0].Subject != "edge.robot.secret" || found[1].Result != Untried {
		t.Errorf("%+v", found)
	}
}

func TestAdminListenersThatEverybodyReaches(t *testing.T) {
	for address, want := range map[string]Result{"127.0.0.1:0": OK, "10.0.0.1:9091": OK, ":9091": Warning, "0.0.0.0:9091": Warning, "[::]:9091": Warning} {
		if found := examine(t, Start, nobody, fmt.Sprintf(", admin: %q", address), "", "admin"); len(found) != 1 || found[0].Result != want {
			t.Errorf("%s: %+v", address, found)
		}
	}
}

// A store in memory is told where there is such a directory.
func TestAStoreInMemory(t *testing.T) {
	if d, err := diskOf("/dev/shm"); err != nil || !d.memory {
		t.Skip("/dev/shm is no memory here")
	}
	dir, err := os.MkdirTemp("/dev/shm", "preflight-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &results{}
	m := &machine{Config: Config{Fleet: &fleet.Fleet{}}}
	m.Fleet.Edge.Store.Path, m.Fleet.Edge.Store.Size = filepath.Join(dir, "store"), 1<<10
	m.tryStore(t.Context(), r)
	if len(r.found) == 0 || r.found[0].ID != ".memory" {
		t.Errorf("%+v", r.found)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind, %v", left, err)
	}
}

// What the store holds already is room that it has.
func TestRoomForAStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "blob"), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if held, whole := heldBy(t.Context(), dir); held != 3<<20 || !whole {
		t.Errorf("%d held, %t", held, whole)
	}
}

// Databases that nobody renews are told.
func TestAGeographicDatabaseThatIsOld(t *testing.T) {
	for age, want := range map[time.Duration]string{24 * time.Hour: "gslb", 200 * 24 * time.Hour: "gslb.geoip-old"} {
		w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", BuildEpoch: time.Now().Add(-age).Unix(), RecordSize: 24})
		if err != nil {
			t.Fatal(err)
		}
		_, network, _ := net.ParseCIDR("8.8.8.0/24")
		if err := w.Insert(network, mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float64(48), "longitude": mmdbtype.Float64(2)}}); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "geo.mmdb"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.WriteTo(file)
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		found := examine(t, Start, nobody, "", fmt.Sprintf("gslb: { state: %q, geoip: %q }", filepath.Join(t.TempDir(), "gslb.json"), file.Name()), "gslb")
		if len(found) != 1 || found[0].ID != want {
			t.Errorf("%v old: %+v", age, found)
		}
	}
}

func TestVersionsOfHarbor(t *testing.T) {
	for text, want := range map[string]string{"v2.15.2-080b0220": "", "v2.10.0": "", "v2.9.4-x": "fault", "v1.10.19": "fault", "v3.0.0": "warning", "dev": "warning", "": "warning"} {
		r, h := &results{}, &harborTrial{machine: &machine{}}
		h.own = &fleet.Datacenter{}
		h.tryVersion(r, text)
		got := ""
		if len(r.found) > 0 {
			got = string(r.found[0].Result)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
