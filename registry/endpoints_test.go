package registry

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// endpoints are those of the OCI distribution specification ("Endpoints", end-1 to end-13),
// of Harbor (the catalog) and of Docker (a session's state): which methods each has, and what
// access they need.
var endpoints = []struct {
	kind Kind
	name string
	path string
	does map[string]string // by method; every other is refused
}{
	{KindBase, "base", "/v2/", map[string]string{"GET": "", "HEAD": ""}},
	{KindCatalog, "catalog", "/v2/_catalog", map[string]string{"GET": "", "HEAD": ""}},
	{KindTags, "tags", "/v2/a/b/tags/list", map[string]string{"GET": "pull", "HEAD": "pull"}},
	{KindManifest, "manifest", "/v2/a/b/manifests/v1", map[string]string{"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"}},
	{KindManifest, "manifest", "/v2/a/b/manifests/" + someDigest, map[string]string{"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"}},
	{KindBlob, "blob", "/v2/a/b/blobs/" + someDigest, map[string]string{"GET": "pull", "HEAD": "pull", "DELETE": "delete"}},
	{KindUploads, "uploads", "/v2/a/b/blobs/uploads/", map[string]string{"POST": "push"}},
	{KindUpload, "upload", "/v2/a/b/blobs/uploads/s", map[string]string{"GET": "push", "PUT": "push", "PATCH": "push", "DELETE": "push"}},
	{KindReferrers, "referrers", "/v2/a/b/referrers/" + someDigest, map[string]string{"GET": "pull", "HEAD": "pull"}},
}

func TestEveryMethodOfEveryEndPoint(t *testing.T) {
	for _, e := range endpoints {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "CONNECT", "get", ""} {
			r, err := ParseRequest(method, &url.URL{Path: e.path})
			action, ok := e.does[method]
			if !ok {
				if refused := (&Error{}); !errors.As(err, &refused) || refused.Status != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %v", method, e.path, err)
				}
				continue
			}
			if err != nil || r.Kind != e.kind || r.Kind.String() != e.name || r.Path() != e.path {
				t.Errorf("%s %s: %+v (%s), %v; its path is %s", method, e.path, r, r.Kind, err, r.Path())
			}
			scope := map[string]string{"": "", "pull": "repository:a/b:pull", "push": "repository:a/b:pull,push", "delete": "repository:a/b:delete"}[action]
			if action != "" && r.Action() != action || r.Scope() != scope || r.Read() != (action == "pull" || action == "") {
				t.Errorf("%s %s: %s, scope %q, reads %t", method, e.path, r.Action(), r.Scope(), r.Read())
			}
			if want := map[bool]string{true: "a", false: ""}[r.Repo != ""]; r.Project() != want {
				t.Errorf("%s: the project is %q", e.path, r.Project())
			}
		}
	}
	for kind, want := range map[Kind]string{-1: "unknown", KindReferrers + 1: "unknown", KindReferrers: "referrers"} {
		if kind.String() != want {
			t.Errorf("%d is %s", kind, kind)
		}
	}
}

// A mount needs to read where it mounts from, and nothing else names a second repo.
func TestTheScopesOfAMount(t *testing.T) {
	for target, want := range map[string]string{
		"/v2/a/blobs/uploads/?mount=x&from=c/d": "repository:a:pull,push repository:c/d:pull",
		"/v2/a/blobs/uploads/?mount=x":          "repository:a:pull,push",
		"/v2/a/blobs/uploads/?from=c/d":         "repository:a:pull,push",
		"/v2/a/blobs/uploads/?mount=x&from=C":   "repository:a:pull,push",
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := ParseRequest("POST", u); err != nil || r.Scope() != want {
			t.Errorf("%s: %q, %v", target, r.Scope(), err)
		}
	}
}

// The longest names are good, and one letter more is not.
func TestTheLengthsOfNames(t *testing.T) {
	for _, n := range []int{1, 128, 129, 255, 256} {
		name := strings.Repeat("a", n)
		if ValidRepo(name) != (n <= 255) || ValidTag(name) != (n <= 128) {
			t.Errorf("%d letters: repo %t, tag %t", n, ValidRepo(name), ValidTag(name))
		}
	}
	for _, n := range []int{1024, 1025} {
		session := strings.Repeat("s", n)
		if r, err := ParseRequest("GET", &url.URL{Path: "/v2/a/blobs/uploads/" + session}); (err == nil) != (n <= 1024) || err == nil && r.Upload != session {
			t.Errorf("a session of %d letters: %v", n, err)
		}
	}
	for _, session := range []string{".", ".."} {
		if _, err := ParseRequest("GET", &url.URL{Path: "/v2/a/blobs/uploads/" + session}); !errors.Is(err, &Error{Code: CodeBlobUploadUnknown}) {
			t.Errorf("the session %s: %v", session, err)
		}
	}
}

// The grammar of names, at its edges.
func TestTheLettersOfNames(t *testing.T) {
	for name, good := range map[string]bool{"a": true, "z": true, "0": true, "9": true, "a.b": true, "a_b": true, "a__b": true, "a-b": true, "a---b": true, "a/b": true,
		"": false, "`": false, "{": false, "/a": false, "a/": false, "a//b": false, "a..b": false, "a___b": false, "a._b": false, "a.": false, "-a": false, "A": false, "a/.b": false, ":": false} {
		if ValidRepo(name) != good {
			t.Errorf("the repo %q is good: %t", name, !good)
		}
	}
	for tag, good := range map[string]bool{"a": true, "z": true, "A": true, "Z": true, "0": true, "9": true, "_": true, "_.-": true, "v1.0-rc_1": true,
		"": false, ".a": false, "-a": false, "a/b": false, "a:b": false, "@": false, "[": false, "`": false, "{": false, "a b": false, "é": false} {
		if ValidTag(tag) != good {
			t.Errorf("the tag %q is good: %t", tag, !good)
		}
	}
	sha512 := "sha512:" + strings.Repeat("0a", 64)
	for d, good := range map[string]bool{someDigest: true, sha512: true, strings.ToUpper(someDigest): false, someDigest[:70]: false, someDigest + "0": false, "sha384:" + strings.Repeat("0a", 48): false, "": false} {
		if got, err := ParseDigest(d); (err == nil) != good || good && got.String() != d {
			t.Errorf("the digest %q: %v", d, err)
		}
	}
	_, err := ParseDigest(strings.Repeat("x", 65))
	if !strings.Contains(err.Error(), strings.Repeat("x", 64)+"…") {
		t.Errorf("what was sent is said whole: %v", err)
	}
	if _, err = ParseDigest(strings.Repeat("x", 64)); strings.Contains(err.Error(), "…") {
		t.Errorf("64 letters are not clipped: %v", err)
	}
}

// Percent-encoded, only what stands in digests is let through.
func TestEncodedPaths(t *testing.T) {
	for path, good := range map[string]bool{
		"/v2/a/blobs/sha256%3A" + someDigest[7:]:         true,
		"/v2/a/blobs/sha256%3a" + someDigest[7:]:         true,
		"/v2/a/blobs/uploads/x%3D%3D":                    true,
		"/v2/a/blobs/uploads/x%2By%40z":                  true,
		"/v2/a/blobs/uploads/x%2Fy":                      false,
		"/v2/a/blobs/uploads/x%3D%2Fy":                   false,
		"/v2/a/blobs/uploads/x%2e":                       false,
		"/v2/a/blobs/uploads/%2e%2e":                     false,
		"/v2/a/blobs/uploads/x%00":                       false,
		"/v2/a/blobs/uploads/x%25":                       false,
		"/v2/a%2Fb/blobs/uploads/x":                      false,
		"/v2/a/blobs/sha256%3A" + someDigest[7:] + "%20": false,
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRequest("GET", u); errors.Is(err, &Error{Code: CodeNameInvalid}) == good {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Each code has its status, as the specification and the field have it.
func TestTheStatusOfACode(t *testing.T) {
	for status, codes := range map[int][]Code{
		400: {CodeDigestInvalid, CodeManifestInvalid, CodeNameInvalid, CodePaginationInvalid},
		401: {CodeUnauthorized}, 403: {CodeDenied},
		404: {CodeBlobUnknown, CodeBlobUploadUnknown, CodeManifestUnknown, CodeNameUnknown},
		405: {CodeUnsupported}, 429: {CodeTooManyRequests}, 500: {CodeUnknown, "ELSE"}, 503: {CodeUnavailable},
	} {
		for _, code := range codes {
			if e := Errorf(code, "no %s", "such"); e.Status != status || e.Code != code || e.Message != "no such" {
				t.Errorf("%+v", e)
			}
		}
	}
	cause := errors.New("why")
	e := &Error{Status: 404, Code: CodeNameUnknown, Message: "m", Cause: cause}
	if !errors.Is(e, cause) || errors.Is(e, &Error{Code: CodeDenied}) || e.Error() != "404 NAME_UNKNOWN: m: why" {
		t.Errorf("%v", e)
	}
}
