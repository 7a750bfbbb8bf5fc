package secret

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// recordedVault answers as a real Vault was recorded to; what it is asked beside that
// is a fault of the test.
type recordedVault struct {
	t      *testing.T
	sealed bool
	// once is answered to the first read instead: the token has run out meanwhile.
	once   string
	logins int
	reads  int
	asked  int
	// leadsTo is where it redirects every request; "self": the first of each path, to itself.
	leadsTo string
	led     map[string]bool
}

const (
	recordedRole   = "191d8281-f4f9-641e-a4b9-08b0b1a161fe"
	recordedSecret = "b3dd97e3-aec5-dc74-3158-30a022f44916"
	recordedToken  = "hvs.CAESIFT4xaU5HEtMZBkqkp4ggJmrNt0SoYL09utGrLAvmVQ7Gh4KHGh2cy5zMkg5dnpXR0J6eVdNV3BqZ25JNGt4emo"
)

func (v *recordedVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Error(err)
	}
	v.asked++
	if to := v.leadsTo; to != "" && !v.led[r.URL.Path] {
		if to == "self" {
			v.led, to = map[string]bool{r.URL.Path: true}, "http://"+r.Host
		}
		http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
		return
	}
	token := r.Header.Get("X-Vault-Token")
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	switch login := path == "auth/approle/login"; {
	case v.sealed && login:
		v.say(w, "sealed-approle-login")
	case v.sealed:
		v.say(w, "sealed-read")
	case path == "auth/kubernetes-par1/login" && strings.TrimSpace(string(body)) == `{"jwt":"a.b.c","role":"breakwater"}`:
		v.logins++
		v.say(w, "approle-login") // it was not recorded: its answer has the same shape
	case login && strings.Contains(string(body), recordedRole) && strings.Contains(string(body), recordedSecret):
		v.logins++
		v.say(w, "approle-login")
	case login:
		v.say(w, "approle-login-wrong-secret")
	case token == "":
		v.say(w, "token-missing")
	case token != "root" && token != recordedToken:
		v.say(w, "token-wrong")
	case strings.HasPrefix(path, "sys/internal/ui/mounts/kv1/"):
		v.say(w, "kv1-mount-preflight")
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		v.say(w, "mount-preflight")
	case v.once != "":
		v.say(w, v.once)
		v.once = ""
	default:
		v.reads++
		name, ok := map[string]string{"secret/data/harbor": "kv2-read", "secret/data/nothing": "kv2-read-missing", "secret/data/deleted": "kv2-read-deleted",
			"secret/data/other": "approle-token-forbidden-path", "kv1/harbor": "kv1-read"}[path]
		if !ok {
			v.t.Errorf("%s %s was not recorded", r.Method, r.URL.Path)
		}
		v.say(w, name)
	}
}

// say answers with a recording: its first line is the command.
func (v *recordedVault) say(w http.ResponseWriter, name string) {
	text, err := os.ReadFile(filepath.Join("testdata/vault", name+".txt"))
	if err != nil {
		v.t.Error(err)
		return
	}
	_, answer, _ := bytes.Cut(text, []byte("\n"))
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		v.t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body) //nolint:errcheck // a recording's last newline may be missing
}

// lookUp reads references from a Vault that the fleet file's login is for.
func lookUp(t *testing.T, v *recordedVault, login string, refs ...string) (values []string, err error) {
	t.Helper()
	v.t = t
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	t.Setenv("ROLE", recordedRole)
	t.Setenv("SECRET", recordedSecret)
	t.Setenv("ROOT", "root")
	t.Setenv("JWT", "a.b.c")
	t.Setenv("WRONG", "wrong")
	text := "domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\" } }\nedge: { plain_http: true }\nsecrets: { vault: { address: \"" + srv.URL + "\", login: " + login + " } }\n"
	f, err := fleet.Load("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		path, key, _ := strings.Cut(ref, "#")
		values = append(values, s.Gather(t.Context(), fleet.Ref{Scheme: "vault", Path: path, Key: key}, "repo1"))
	}
	return values, s.Err()
}

const (
	byRoot       = `{ token: "env:ROOT" }`
	byKubernetes = `{ kubernetes: { role: breakwater, token: "env:JWT", mount: kubernetes-par1 } }`
	byAppRole    = `{ approle: { role_id: "env:ROLE", secret_id: "env:SECRET" } }`
)

func TestVaultsBothVersionsAndLogins(t *testing.T) {
	for _, login := range []string{byRoot, byAppRole, byKubernetes} {
		v := &recordedVault{}
		got, err := lookUp(t, v, login, "secret/harbor#admin-password", "secret/harbor#robot-password/readonly/{name}", "kv1/harbor#admin-password")
		if err != nil || strings.Join(got, " ") != "Harbor12345 Read5ecretRepo1 Harbor12345" {
			t.Errorf("%s: %v %v", login, got, err)
		}
		if v.reads != 2 {
			t.Errorf("%s: two secrets were read %d times", login, v.reads)
		}
	}
}

// A lease that ends in the middle of a run is a new login, once.
func TestVaultLeaseEnds(t *testing.T) {
	v := &recordedVault{once: "token-expired-read"}
	got, err := lookUp(t, v, byAppRole, "secret/harbor#admin-password")
	if err != nil || got[0] != "Harbor12345" || v.logins != 2 {
		t.Errorf("%v %v after %d logins", got, err, v.logins)
	}
}

// What is wrong is a sentence, with the reference and without a secret.
func TestVaultFaults(t *testing.T) {
	for _, c := range []struct {
		name, login, ref, want string
		sealed                 bool
	}{
		{"sealed", byRoot, "secret/harbor#admin-password", "is sealed", true},
		{"sealed at login", byAppRole, "secret/harbor#admin-password", "is sealed", true},
		{"no such secret", byRoot, "secret/nothing#x", "vault:secret/nothing#x: the Vault has no such secret", false},
		{"deleted", byRoot, "secret/deleted#x", "vault:secret/deleted#x: ", false},
		{"no such field", byRoot, "secret/harbor#x", `the secret has no field "x"`, false},
		{"forbidden", byAppRole, "secret/other#x", "vault:secret/other#x: the Vault forbids it", false},
		{"wrong token", `{ token: "env:WRONG" }`, "secret/harbor#x", "the Vault forbids it", false},
		{"wrong role", `{ approle: { role_id: "env:ROLE", secret_id: "env:WRONG" } }`, "secret/harbor#x", "the Vault refuses the AppRole's role_id and secret_id", false},
		{"no pod", `{ kubernetes: { role: breakwater } }`, "secret/harbor#x", "there is no service account's token", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := lookUp(t, &recordedVault{sealed: c.sealed}, c.login, c.ref)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), recordedSecret) || strings.Contains(err.Error(), recordedToken)) {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

func TestVaultThatIsNotThere(t *testing.T) {
	f, err := fleet.Load("fleet.yaml", []byte("domain: h.example.org\ndatacenters: { par1: { harbor: \"https://a.example.org\" } }\nedge: { plain_http: true }\nsecrets: { vault: { address: \"http://127.0.0.1:1\", login: { token: \"env:ROOT\" } } }\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROOT", "root")
	t.Setenv("VAULT_MAX_RETRIES", "0")
	s, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	s.Gather(t.Context(), fleet.Ref{Scheme: "vault", Path: "secret/harbor", Key: "x"}, "")
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "the Vault at http://127.0.0.1:1 does not answer") {
		t.Error(err)
	}
}

// A Vault that leads elsewhere gets the token no further: whoever is there is told nothing.
func TestVaultThatLeadsElsewhere(t *testing.T) {
	for _, login := range []string{byRoot, byAppRole} {
		var asked atomic.Int64
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		t.Cleanup(other.Close)
		v := &recordedVault{leadsTo: other.URL}
		_, err := lookUp(t, v, login, "secret/harbor#admin-password", "kv1/harbor#admin-password")
		if err == nil || !strings.Contains(err.Error(), "it answers with a redirect to "+other.URL+", which is told no token") || strings.Count(err.Error(), other.URL) != 1 {
			t.Errorf("%s: %v", login, err)
		}
		if n := asked.Load(); n != 0 {
			t.Errorf("%s: the other side was asked %d times", login, n)
		}
	}
	t.Setenv("VAULT_AGENT_ADDR", "http://127.0.0.1:1")
	for _, login := range []string{byRoot, byAppRole} { // to itself, as over another path
		got, err := lookUp(t, &recordedVault{leadsTo: "self"}, login, "secret/harbor#admin-password")
		if err != nil || got[0] != "Harbor12345" {
			t.Errorf("%s: %v %v", login, got, err)
		}
	}
}

// Of a Vault that is away it is said once, with all that is wanted of it, and it is asked once.
func TestVaultThatIsAwayIsAskedOnce(t *testing.T) {
	v := &recordedVault{sealed: true}
	_, err := lookUp(t, v, byRoot, "secret/harbor#a", "secret/other#b", "kv1/harbor#c")
	if err == nil || strings.Count(err.Error(), "is sealed") != 1 || !strings.Contains(err.Error(), "vault:kv1/harbor#c") || !strings.Contains(err.Error(), "vault:secret/other#b") {
		t.Error(err)
	}
	if v.asked > 2 { // and once more, by Vault's client
		t.Errorf("it was asked %d times", v.asked)
	}
}
