package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

func discovered(t *testing.T, serve http.HandlerFunc, declared ...string) (keys, notes []string, err error) {
	t.Helper()
	srv := httptest.NewServer(serve)
	t.Cleanup(srv.Close)
	a := &fleet.Artifactory{URL: fleet.URL(srv.URL), Domain: "artifactory.example.org", Exclude: []string{"tmp-*"}}
	session, err := newArtifactory(a, "harbor-ro", artifactoryPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	return session.keys(t.Context(), a.Exclude, declared)
}

// repositories answers as Artifactory's repositories API does.
func repositories(reader string, keys ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != reader || password != artifactoryPassword {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		if r.URL.String() != "/artifactory/api/repositories?type=local&packageType=docker" {
			http.NotFound(w, r)
			return
		}
		var all []string
		for _, key := range keys {
			all = append(all, fmt.Sprintf(`{"key":%q,"type":"LOCAL","url":"https://a/%[1]s","packageType":"Docker"}`, key))
		}
		fmt.Fprint(w, "["+strings.Join(all, ",")+"]")
	}
}

func TestArtifactoryIsDiscovered(t *testing.T) {
	keys, notes, err := discovered(t, repositories("harbor-ro", "team-b", "team-a", "tmp-x", "team-a"))
	if err != nil || !slices.Equal(keys, []string{"team-a", "team-b"}) || len(notes) != 0 {
		t.Errorf("%v %v %v", keys, notes, err)
	}
	if keys, notes, err = discovered(t, repositories("harbor-ro")); err != nil || len(keys) != 0 || len(notes) != 1 {
		t.Errorf("an empty list: %v %v %v", keys, notes, err)
	}
}

// Where the repositories API is not for this account, the user interface's is asked.
func TestArtifactoryByItsUserInterface(t *testing.T) {
	keys, _, err := discovered(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/ui/api/v1/ui/repodata?packageSearch=true" {
			http.Error(w, `{"errors":[{"status":403}]}`, http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"repoTypesList":[{"repoKey":"team-a","repoType":"Docker","isLocal":true},{"repoKey":"remote","repoType":"Docker","isLocal":false},{"repoKey":"maven","repoType":"Maven","isLocal":true}]}`)
	})
	if err != nil || !slices.Equal(keys, []string{"team-a"}) {
		t.Errorf("%v %v", keys, err)
	}
}

// An answer that is none must not look like an Artifactory without repositories.
func TestArtifactoryThatIsNotWell(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"500":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"HTML":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") },
		"cut":       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"key":"team-a"},{"ke`) },
		"bad key":   repositories("harbor-ro", "Team A"),
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
	} {
		if keys, _, err := discovered(t, serve); err == nil {
			t.Errorf("%s: %v", name, keys)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
	if _, _, err := discovered(t, repositories("harbor-ro", "quay.io"), "quay.io"); err == nil || !strings.Contains(err.Error(), "is a cache of projects.cache too") {
		t.Errorf("a key that is a declared cache: %v", err)
	}
}

// artifactoryUsers is the part of Artifactory's security API that makes users.
type artifactoryUsers struct {
	http.Handler
	made map[string]string // passwords
}

func (a *artifactoryUsers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/artifactory/api/security/users/")
	admin := r.Header.Get("Authorization") == "Bearer admin-token"
	switch user, password, _ := r.BasicAuth(); {
	case !ok && admin:
		r.SetBasicAuth("robot$harbor-ro", artifactoryPassword) // an administrator sees what readers see
		a.Handler.ServeHTTP(w, r)
	case !ok && r.URL.String() == "/artifactory/api/repositories?type=local":
		if a.made[user] != password || password == "" {
			http.Error(w, "no", http.StatusUnauthorized)
		}
	case !ok:
		a.Handler.ServeHTTP(w, r)
	case !admin:
		http.Error(w, "no", http.StatusForbidden)
	case r.Method == http.MethodGet && a.made[name] == "":
		http.NotFound(w, r)
	case r.Method == http.MethodGet:
		fmt.Fprint(w, `{"name":"x","groups":["readers"]}`)
	default:
		var body struct {
			Password string
			Groups   []string
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !slices.Equal(body.Groups, []string{"readers"}) {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		a.made[name] = body.Password
		w.WriteHeader(http.StatusCreated)
	}
}

// With an administrator's token the user as whom Harbors read is made, and its
// password is kept.
func TestArtifactorysReaderIsMade(t *testing.T) {
	f := newTestFleet(t)
	users := &artifactoryUsers{repositories("robot$harbor-ro", "team-a"), map[string]string{}}
	srv := httptest.NewServer(users)
	t.Cleanup(srv.Close)
	t.Setenv("TOKEN", "admin-token")
	with := []string{f.artifactory, srv.URL, "domain: artifactory.example.org", "domain: artifactory.example.org\n    admin_token: env:TOKEN"}
	f.apply(t, Options{}, with...)
	if users.made["robot$harbor-ro"] != artifactoryPassword {
		t.Errorf("%v", users.made)
	}
	f.settled(t, with...)
	users.made["robot$harbor-ro"] = "another"
	if plan := f.apply(t, Options{}, with...); len(plan.Changes) != 1 || plan.Changes[0].Kind != kindUser {
		t.Errorf("%v", plan.Changes)
	}
	f.settled(t, with...)
}

// A list that shrank takes nothing away, with --prune neither: the caches stay, and the
// edge pulls from them.
func TestAListThatShrank(t *testing.T) {
	for name, alone := range map[string]bool{"of a whole fleet": false, "of Artifactory alone": true} {
		t.Run(name, func(t *testing.T) {
			f := newTestFleet(t)
			if alone {
				f.text = regexp.MustCompile(`(?s)  multi-dc:.*(  artifactory:)`).ReplaceAllString(f.text, "$1")
			}
			f.apply(t, Options{})
			srv := httptest.NewServer(repositories("robot$harbor-ro"))
			t.Cleanup(srv.Close)
			plan := f.plan(t, f.open(t, Options{Prune: true, PruneMax: 100}, f.artifactory, srv.URL))
			if !strings.Contains(strings.Join(plan.Notes, "\n"), "lists no local Docker repository") {
				t.Errorf("%v", plan.Notes)
			}
			for _, c := range plan.Changes {
				t.Errorf("%s %s %v", c.Action, c.Key, c.Fields)
			}
			// What is excluded is meant.
			plan = f.plan(t, f.open(t, Options{}, f.artifactory, srv.URL, `"tmp-*"`, `"team-*", "tmp-*"`))
			if !alone && (len(plan.Changes) != 3 || plan.Changes[0].Fields[0].Name != "may") {
				t.Errorf("%+v", plan.Changes)
			}
		})
	}
}
