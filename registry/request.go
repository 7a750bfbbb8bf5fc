package registry

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Kind says which end point of the OCI distribution specification a request is for.
type Kind int

// The end points; the comments give their paths after /v2/.
const (
	KindBase      Kind = iota // the API's root itself
	KindCatalog               // _catalog
	KindTags                  // <repo>/tags/list
	KindManifest              // <repo>/manifests/<tag or digest>
	KindBlob                  // <repo>/blobs/<digest>
	KindUploads               // <repo>/blobs/uploads/
	KindUpload                // <repo>/blobs/uploads/<session>
	KindReferrers             // <repo>/referrers/<digest>
)

// String is the kind's name in logs and metrics.
func (k Kind) String() string {
	names := [...]string{"base", "catalog", "tags", "manifest", "blob", "uploads", "upload", "referrers"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Request is a request to a registry, parsed and checked: whatever it holds is
// valid by the specification's grammar, so that nothing after ParseRequest
// looks at a URL again.
type Request struct {
	Method string
	Kind   Kind
	Repo   string        // "" for KindBase and KindCatalog
	Tag    string        // a manifest asked for by tag
	Digest digest.Digest // a manifest by digest, a blob, or referrers' subject
	Upload string        // the session of KindUpload, as the registry named it
	Query  url.Values    // as the client sent it
}

// maxUpload bounds the session's name: registries use a UUID, some a token.
const maxUpload = 1024

// ParseRequest parses the method and URL of a request below /v2/. The errors
// are ready to be written: NAME_INVALID, DIGEST_INVALID, MANIFEST_INVALID (a tag
// that cannot be written), MANIFEST_UNKNOWN (a tag that cannot be there), or
// UNSUPPORTED for paths and methods that the specification does not have.
func ParseRequest(method string, u *url.URL) (Request, error) {
	path, err := plainPath(u)
	if err != nil {
		return Request{}, err
	}
	r := Request{Method: method, Query: u.Query()}
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok || rest != "" && rest[0] != '/' {
		return Request{}, unknownPath(path)
	}
	switch rest {
	case "", "/":
		r.Kind = KindBase
	case "/_catalog":
		r.Kind = KindCatalog
	default:
		if err := r.parseRepoPath(rest[1:]); err != nil {
			return Request{}, err
		}
	}
	if !r.methodAllowed() {
		return Request{}, Errorf(CodeUnsupported, "%s is not a method of this end point", clip(method))
	}
	return r, nil
}

// plainPath returns the decoded path of a URL in which only characters that
// may stand in digests are percent-encoded: an encoded slash, dot or NUL would
// be one path to us and another to the Harbor behind us.
func plainPath(u *url.URL) (string, error) {
	escaped := u.EscapedPath()
	for i := strings.IndexByte(escaped, '%'); i >= 0 && i+2 < len(escaped); {
		switch strings.ToUpper(escaped[i : i+3]) {
		case "%3A", "%2B", "%40", "%3D":
		default:
			return "", Errorf(CodeNameInvalid, "the path holds %q, which no repo, tag or digest has", escaped[i:i+3])
		}
		next := strings.IndexByte(escaped[i+3:], '%')
		if next < 0 {
			break
		}
		i += 3 + next
	}
	return u.Path, nil
}

func unknownPath(path string) *Error {
	e := Errorf(CodeUnsupported, "%q is not an end point of the registry API", clip(path))
	e.Status = http.StatusNotFound
	return e
}

// parseRepoPath parses what stands behind /v2/.
func (r *Request) parseRepoPath(path string) error {
	repo, kind, last := CutPath(path)
	if kind == KindBase {
		return unknownPath("/v2/" + path)
	}
	if !ValidRepo(repo) {
		return Errorf(CodeNameInvalid, "%q is not a repo name: lower-case letters, digits and single separators, at most %d", clip(repo), maxRepo)
	}
	r.Kind, r.Repo = kind, repo
	return r.parseReference(last)
}

// CutPath cuts a path below /v2/ into what stands before its end point, as the repo, the end
// point, and what is asked of it; KindBase is of a path that has none. It reads from the end,
// because a repo may have components named as the end points are.
func CutPath(path string) (repo string, kind Kind, last string) {
	rest, last, _ := cutLast(path)
	repo, verb, ok := cutLast(rest)
	switch {
	case !ok:
	case verb == "tags" && last == "list":
		return repo, KindTags, last
	case verb == "manifests":
		return repo, KindManifest, last
	case verb == "referrers":
		return repo, KindReferrers, last
	case verb == "blobs" && last == "uploads":
		return repo, KindUploads, last
	case verb == "blobs":
		return repo, KindBlob, last
	case verb == "uploads" && strings.HasSuffix(repo, "/blobs"):
		kind = KindUpload
		if last == "" {
			kind = KindUploads
		}
		return strings.TrimSuffix(repo, "/blobs"), kind, last
	}
	return "", KindBase, ""
}

func (r *Request) parseReference(last string) (err error) {
	switch r.Kind {
	case KindBlob, KindReferrers:
		r.Digest, err = ParseDigest(last)
	case KindManifest:
		switch {
		case strings.Contains(last, ":"):
			r.Digest, err = ParseDigest(last)
		case ValidTag(last):
			r.Tag = last
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			return Errorf(CodeManifestUnknown, "there is no tag %q, and there cannot be one", clip(last))
		default:
			return Errorf(CodeManifestInvalid, "%q is not a tag", clip(last))
		}
	case KindUpload:
		if len(last) > maxUpload || last == "." || last == ".." {
			return Errorf(CodeBlobUploadUnknown, "there is no such upload session")
		}
		r.Upload = last
	}
	return err
}

func cutLast(s string) (before, last string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// methodAllowed holds the specification's table of end points ("Endpoints",
// end-1 to end-13), OPTIONS left out.
func (r *Request) methodAllowed() bool {
	switch r.Method {
	case http.MethodGet:
		return r.Kind != KindUploads
	case http.MethodHead:
		return r.Kind != KindUploads && r.Kind != KindUpload
	case http.MethodPut:
		return r.Kind == KindManifest || r.Kind == KindUpload
	case http.MethodPost:
		return r.Kind == KindUploads
	case http.MethodPatch:
		return r.Kind == KindUpload
	case http.MethodDelete:
		return r.Kind == KindManifest || r.Kind == KindBlob || r.Kind == KindUpload
	}
	return false
}

// Reference is what a manifest, blob or referrers request names: its digest, else its tag.
func (r Request) Reference() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// Project is the repo's first component: the Harbor project.
func (r Request) Project() string {
	project, _, _ := strings.Cut(r.Repo, "/")
	return project
}

// Path is the inverse of ParseRequest: the path that parses to this request.
func (r Request) Path() string {
	switch r.Kind {
	case KindBase:
		return "/v2/"
	case KindCatalog:
		return "/v2/_catalog"
	}
	base := "/v2/" + r.Repo
	switch r.Kind {
	case KindTags:
		return base + "/tags/list"
	case KindManifest:
		return base + "/manifests/" + r.Reference()
	case KindReferrers:
		return base + "/referrers/" + r.Reference()
	case KindUploads:
		return base + "/blobs/uploads/"
	case KindUpload:
		return base + "/blobs/uploads/" + r.Upload
	}
	return base + "/blobs/" + r.Reference()
}

// Read reports whether the request only reads.
func (r Request) Read() bool {
	return r.Method == http.MethodGet && r.Kind != KindUpload || r.Method == http.MethodHead
}

// Action is the access that the request needs in the words of the token
// scopes: pull, push or delete. Writing needs pull too.
func (r Request) Action() string {
	switch {
	case r.Read():
		return "pull"
	case r.Method == http.MethodDelete && r.Kind != KindUpload:
		return "delete"
	}
	return "push"
}

// Scope is the token scope that a challenge for this request names, as Harbor
// writes it; "" where the request names no repo. A mount needs two.
func (r Request) Scope() string {
	if r.Repo == "" {
		return ""
	}
	actions := r.Action()
	if actions == "push" {
		actions = "pull,push"
	}
	scope := "repository:" + r.Repo + ":" + actions
	if from := r.Query.Get("from"); r.Kind == KindUploads && r.Query.Has("mount") && ValidRepo(from) {
		scope += " repository:" + from + ":pull"
	}
	return scope
}
