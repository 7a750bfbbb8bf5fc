package registry

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

const someDigest = "sha256:8244952a9434b01152b36a76948e0e94e081c4c0f646145d004859e4914f1af0"

func TestParseRequest(t *testing.T) {
	for _, c := range []struct {
		name, method, url string
		want              Request
		scope             string
	}{
		{name: "the root", method: "GET", url: "/v2/", want: Request{Kind: KindBase}},
		{name: "the catalog", method: "GET", url: "/v2/_catalog?n=2", want: Request{Kind: KindCatalog}},
		{name: "tags", method: "GET", url: "/v2/a/b/tags/list", want: Request{Kind: KindTags, Repo: "a/b"}, scope: "repository:a/b:pull"},
		{name: "a manifest by tag", method: "HEAD", url: "/v2/a/b/manifests/v1.0_X", want: Request{Kind: KindManifest, Repo: "a/b", Tag: "v1.0_X"}, scope: "repository:a/b:pull"},
		{name: "a manifest by digest", method: "GET", url: "/v2/a/manifests/" + someDigest, want: Request{Kind: KindManifest, Repo: "a", Digest: someDigest}, scope: "repository:a:pull"},
		{name: "a digest with its colon encoded", method: "GET", url: "/v2/a/blobs/sha256%3A" + someDigest[7:], want: Request{Kind: KindBlob, Repo: "a", Digest: someDigest}, scope: "repository:a:pull"},
		{name: "a repo with components named as end points", method: "GET", url: "/v2/a/blobs/uploads/manifests/tags", want: Request{Kind: KindManifest, Repo: "a/blobs/uploads", Tag: "tags"}, scope: "repository:a/blobs/uploads:pull"},
		{name: "an upload's start", method: "POST", url: "/v2/a/b/blobs/uploads/", want: Request{Kind: KindUploads, Repo: "a/b"}, scope: "repository:a/b:pull,push"},
		{name: "an upload's start without the slash", method: "POST", url: "/v2/a/b/blobs/uploads", want: Request{Kind: KindUploads, Repo: "a/b"}, scope: "repository:a/b:pull,push"},
		{name: "a mount", method: "POST", url: "/v2/a/b/blobs/uploads/?mount=" + someDigest + "&from=c/d", want: Request{Kind: KindUploads, Repo: "a/b"}, scope: "repository:a/b:pull,push repository:c/d:pull"},
		{name: "an upload session", method: "PATCH", url: "/v2/a/b/blobs/uploads/1bb0ff84-23d2?_state=x", want: Request{Kind: KindUpload, Repo: "a/b", Upload: "1bb0ff84-23d2"}, scope: "repository:a/b:pull,push"},
		{name: "an upload's state", method: "GET", url: "/v2/a/b/blobs/uploads/1bb0ff84", want: Request{Kind: KindUpload, Repo: "a/b", Upload: "1bb0ff84"}, scope: "repository:a/b:pull,push"},
		{name: "referrers", method: "GET", url: "/v2/a/referrers/" + someDigest, want: Request{Kind: KindReferrers, Repo: "a", Digest: someDigest}, scope: "repository:a:pull"},
		{name: "a repo called blobs", method: "GET", url: "/v2/a/blobs/manifests/1", want: Request{Kind: KindManifest, Repo: "a/blobs", Tag: "1"}, scope: "repository:a/blobs:pull"},
		{name: "a repo called blobs/uploads", method: "GET", url: "/v2/a/blobs/uploads/tags/list", want: Request{Kind: KindTags, Repo: "a/blobs/uploads"}, scope: "repository:a/blobs/uploads:pull"},
		{name: "a delete", method: "DELETE", url: "/v2/a/manifests/x", want: Request{Kind: KindManifest, Repo: "a", Tag: "x"}, scope: "repository:a:delete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseRequest(c.method, u)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != c.want.Kind || got.Repo != c.want.Repo || got.Tag != c.want.Tag || got.Digest != c.want.Digest || got.Upload != c.want.Upload || got.Method != c.method {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.Scope() != c.scope {
				t.Errorf("scope %q, want %q", got.Scope(), c.scope)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	long := strings.Repeat("a", 256)
	for _, c := range []struct {
		name, method, url string
		want              *Error
	}{
		{"a path beside the API", "GET", "/v2foo", &Error{Status: 404, Code: CodeUnsupported}},
		{"an unknown end point", "GET", "/v2/a/b/foo", &Error{Status: 404, Code: CodeUnsupported}},
		{"no repo", "GET", "/v2/tags/list", &Error{Status: 404, Code: CodeUnsupported}},
		{"an upper-case repo", "GET", "/v2/A/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"a parent directory", "GET", "/v2/a/../b/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"an empty component", "GET", "/v2/a//b/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"an encoded slash", "GET", "/v2/a%2fb/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"an encoded slash behind an encoded colon", "GET", "/v2/a%3A%2fb/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"a NUL", "GET", "/v2/a%00/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"a doubly encoded slash", "GET", "/v2/a%252fb/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"an overlong repo", "GET", "/v2/" + long + "/manifests/x", &Error{Status: 400, Code: CodeNameInvalid}},
		{"a broken digest", "GET", "/v2/a/blobs/sha256:zz", &Error{Status: 400, Code: CodeDigestInvalid}},
		{"a digest nobody can check", "GET", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", &Error{Status: 400, Code: CodeDigestInvalid}},
		{"reading a tag that cannot be", "GET", "/v2/a/manifests/.INVALID", &Error{Status: 404, Code: CodeManifestUnknown}},
		{"writing a tag that cannot be", "PUT", "/v2/a/manifests/.INVALID", &Error{Status: 400, Code: CodeManifestInvalid}},
		{"a method that is none", "POST", "/v2/a/manifests/x", &Error{Status: 405, Code: CodeUnsupported}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseRequest(c.method, u)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.want.Code || e.Status != c.want.Status {
				t.Errorf("got %+v, %v; want %d %s", r, err, c.want.Status, c.want.Code)
			}
		})
	}
}

// FuzzParseRequest holds the parser to the specification's own regular
// expressions, and to its inverse.
func FuzzParseRequest(f *testing.F) {
	repo := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tag := regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	for _, s := range []string{"/v2/", "/v2/a/b/manifests/x", "/v2/a/blobs/" + someDigest, "/v2/a/blobs/uploads/s", "/v2/a__b/tags/list", "/v2/a%2fb/tags/list", "/v2/a-_b/tags/list"} {
		f.Add("GET", s)
		f.Add("PUT", s)
	}
	f.Fuzz(func(t *testing.T, method, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		r, err := ParseRequest(method, u)
		if err != nil {
			return
		}
		if r.Repo != "" && (!repo.MatchString(r.Repo) || len(r.Repo) > 255) {
			t.Errorf("repo %q passed", r.Repo)
		}
		if r.Tag != "" && !tag.MatchString(r.Tag) {
			t.Errorf("tag %q passed", r.Tag)
		}
		again, err := ParseRequest(method, &url.URL{Path: r.Path()})
		if r.Kind == KindUpload {
			return // sessions are the registry's own words
		}
		if err != nil || again.Kind != r.Kind || again.Repo != r.Repo || again.Reference() != r.Reference() {
			t.Errorf("%q parses to %+v, its path %q to %+v, %v", raw, r, r.Path(), again, err)
		}
	})
}

func FuzzValidRepo(f *testing.F) {
	oracle := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	for _, s := range []string{"", "a", "a/b", "a//b", "a--b", "a..b", "a___b", "a/", "/a", "a-/b", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if want := oracle.MatchString(s) && len(s) <= 255 && !strings.HasSuffix(s, "\n"); ValidRepo(s) != want {
			t.Errorf("ValidRepo(%q) = %v", s, !want)
		}
	})
}
