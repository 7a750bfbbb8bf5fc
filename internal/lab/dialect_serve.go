package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/registry"
)

// ServeHTTP implements http.Handler: by the host that was asked it is the registry, its
// token service or its storage.
func (a *Abroad) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	username, password, basic := r.BasicAuth()
	if basic {
		a.shown[password] = true
	}
	host, _, _ := strings.Cut(r.Host, ":")
	path, below := strings.CutPrefix(r.URL.Path, a.Path)
	switch {
	case host == a.Storage:
		a.serveStorage(w, r)
	case host == a.Token.Host && r.URL.Path == a.Token.Path:
		a.serveToken(w, r, username, basic && !a.knows(username, password))
	case !below || !strings.HasPrefix(path, "/v2/"):
		Says{Status: http.StatusNotFound, Body: "<html>nothing here</html>", Header: webPage}.write(w)
	case host == a.Host && a.Elsewhere != "" && path != "/v2/":
		http.Redirect(w, r, "https://"+a.Elsewhere+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	default:
		a.serveRegistry(w, r, path)
	}
}

var webPage = http.Header{"Content-Type": {"text/html; charset=utf-8"}}

func (a *Abroad) knows(username, password string) bool {
	return username == a.user && password == a.password
}

// ServeHTTP implements http.Handler: it says so to whatever is asked.
func (s Says) ServeHTTP(w http.ResponseWriter, _ *http.Request) { s.write(w) }

func (s Says) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), s.Header)
	if s.Code != "" {
		w.Header().Set("Content-Type", "application/json")
		s.Body = fmt.Sprintf(`{"errors":[{"code":%q,"message":"as this registry says it"}]}`, s.Code)
	}
	w.WriteHeader(s.Status)
	w.Write([]byte(s.Body)) //nolint:errcheck // the client is gone
}

// permits reports whether somebody may pull from a repo, if it is there; "" is anybody.
func (a *Abroad) permits(username, repo string) bool {
	return username != "" || !a.Private && !strings.HasPrefix(repo, "private/")
}

// serveToken gives a token for the one repo of the scope, which may be good for nothing.
func (a *Abroad) serveToken(w http.ResponseWriter, r *http.Request, username string, wrong bool) {
	if wrong {
		Says{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED"}.write(w)
		return
	}
	scope := r.URL.Query().Get("scope")
	repo := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
	if a.Token.Forbidden != 0 && scope != "" && (a.repos[repo] == nil || !a.permits(username, repo)) {
		Says{Status: a.Token.Forbidden, Code: "DENIED"}.write(w)
		return
	}
	token := username + "|" + repo
	a.tokens[token] = true
	answer := map[string]any{a.Token.Field: token}
	if a.Token.Seconds > 0 {
		answer["expires_in"] = a.Token.Seconds
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client is gone
}

// who is who asks for a repo, by a token for it or by Basic; unknown: by neither that is good.
func (a *Abroad) who(r *http.Request, repo string) (username string, unknown bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		username, of, _ := strings.Cut(token, "|")
		return username, !a.tokens[token] || of != repo && repo != "" && !a.Token.Wide
	}
	username, password, basic := r.BasicAuth()
	if !basic { // only where nobody needs a token, or no token can be had
		return "", len(a.Challenge) > 0 && !(a.OpenRepos && a.permits("", repo) && repo != "")
	}
	return username, !a.knows(username, password) || !a.TakesBasic
}

func (a *Abroad) refuse(w http.ResponseWriter, repo string, s Says) {
	if s.Status == 0 {
		a.challenge(w, repo)
		return
	}
	s.write(w)
}

func (a *Abroad) challenge(w http.ResponseWriter, repo string) {
	for _, c := range a.Challenge {
		scope := ""
		if repo != "" {
			scope = `,scope="repository:` + repo + `:pull"`
		}
		w.Header().Add("WWW-Authenticate", strings.ReplaceAll(c, "{scope}", scope))
	}
	Says{Status: http.StatusUnauthorized, Code: "UNAUTHORIZED"}.write(w)
}

// serveRegistry answers for path, which begins with /v2/.
func (a *Abroad) serveRegistry(w http.ResponseWriter, r *http.Request, path string) {
	req, err := registry.ParseRequest(r.Method, &url.URL{Path: path, RawQuery: r.URL.RawQuery})
	username, unknown := a.who(r, req.Repo)
	held := a.repos[req.Repo]
	switch {
	case err != nil:
		Says{Status: http.StatusNotFound, Body: "404 page not found\n"}.write(w)
	case req.Kind == registry.KindBase && (a.OpenRoot || !unknown):
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	case unknown:
		a.challenge(w, req.Repo)
	case a.limited:
		a.Limit.write(w)
	case !a.permits(username, req.Repo):
		a.refuse(w, req.Repo, a.Forbidden)
	case held == nil:
		a.refuse(w, req.Repo, a.Missing)
	case req.Kind == registry.KindManifest:
		a.serveManifest(w, r, held, req)
	case req.Kind == registry.KindBlob:
		a.serveBlob(w, r, held, req)
	case req.Kind == registry.KindTags:
		a.serveTags(w, held, req)
	case a.Referrers.Status != 0:
		a.Referrers.write(w)
	default:
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": append([]json.RawMessage{}, held.referrers[req.Digest]...)}) //nolint:errcheck // the client is gone
	}
}

func (a *Abroad) serveManifest(w http.ResponseWriter, r *http.Request, held *repoAbroad, req registry.Request) {
	d := req.Digest
	if req.Tag != "" {
		d = held.tags[req.Tag]
	}
	if of := digest.Digest(strings.Replace(req.Tag, "-", ":", 1)); d == "" && a.DigestTags && of.Validate() == nil {
		d = of
	}
	m, ok := held.manifests[d]
	switch {
	case r.Method == http.MethodHead && a.NoHead != 0:
		w.WriteHeader(a.NoHead)
		return
	case !ok:
		Says{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN"}.write(w)
		return
	}
	maps.Copy(w.Header(), a.Rate)
	w.Header().Set("Content-Type", m.MediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(m.Body)))
	w.Write(m.Body) //nolint:errcheck // the client is gone
}

func (a *Abroad) serveBlob(w http.ResponseWriter, r *http.Request, held *repoAbroad, req registry.Request) {
	body, ok := held.blobs[req.Digest]
	switch {
	case !ok:
		Says{Status: http.StatusNotFound, Code: "BLOB_UNKNOWN"}.write(w)
	case a.Storage != "":
		http.Redirect(w, r, "https://"+a.Storage+"/"+req.Repo+"/"+req.Digest.String()+"?X-Signature=x", http.StatusTemporaryRedirect)
	default:
		w.Header().Set("Docker-Content-Digest", req.Digest.String())
		serveBytes(w, r, body)
	}
}

func serveBytes(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// serveStorage gives what its signed address names, and as S3 does refuses who shows
// something else beside the signature.
func (a *Abroad) serveStorage(w http.ResponseWriter, r *http.Request) {
	repo, d, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/sha256:")
	held := a.repos[repo]
	if r.Header.Get("Authorization") != "" || r.URL.RawQuery == "" || held == nil || held.blobs[digest.Digest("sha256:"+d)] == nil {
		Says{Status: http.StatusBadRequest, Body: "<Error><Code>InvalidArgument</Code></Error>", Header: http.Header{"Content-Type": {"application/xml"}}}.write(w)
		return
	}
	serveBytes(w, r, held.blobs[digest.Digest("sha256:"+d)])
}

func (a *Abroad) serveTags(w http.ResponseWriter, held *repoAbroad, req registry.Request) {
	tags := slices.Sorted(maps.Keys(held.tags))
	n, last := a.Tags.Usual, req.Query.Get("last")
	if asked := req.Query.Get("n"); asked != "" && !a.Tags.Ignored {
		n, _ = strconv.Atoi(asked)
	}
	if a.Tags.Most > 0 && n > a.Tags.Most {
		if !a.Tags.Clips {
			Says{Status: http.StatusBadRequest, Code: "PAGINATION_NUMBER_INVALID"}.write(w)
			return
		}
		n = a.Tags.Most
	}
	if token := req.Query.Get("next_page"); token != "" {
		last = token
	}
	at, found := slices.BinarySearch(tags, last)
	if found {
		at++
	}
	tags = tags[at:]
	if n > 0 && len(tags) > n {
		tags = tags[:n]
		w.Header().Set("Link", strings.NewReplacer("{host}", a.Host, "{path}", a.Path, "{repo}", req.Repo, "{n}", strconv.Itoa(n), "{last}", url.QueryEscape(tags[n-1])).Replace(a.Tags.Link))
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"name": req.Repo, "tags": tags}) //nolint:errcheck // the client is gone
}
