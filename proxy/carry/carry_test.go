package carry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/carry"
)

// harbor is a repo that takes what it is sent, and notes it.
type harbor struct {
	blobs, manifests map[digest.Digest]bool
	wrote            []string // in order: "blob x", "manifest x", of contents
	location         string
	fail             string // the method and part of the path of a request that fails
	t                *testing.T
}

func newHarbor(t *testing.T) *harbor {
	return &harbor{blobs: map[digest.Digest]bool{}, manifests: map[digest.Digest]bool{}, location: "/v2/multi-dc-demo/app/blobs/uploads/1", t: t}
}

var errRefused = errors.New("refused")

func (h *harbor) to() carry.To {
	return carry.To{Repo: "multi-dc-demo/app",
		HasBlob: func(_ context.Context, d digest.Digest) (bool, error) { return h.blobs[d], h.fails("HEAD blob") },
		HasManifest: func(_ context.Context, d digest.Digest) (bool, error) {
			return h.manifests[d], h.fails("HEAD manifest")
		},
		Send: h.send}
}

func (h *harbor) fails(what string) error {
	if h.fail != "" && strings.HasPrefix(what, h.fail) {
		return errRefused
	}
	return nil
}

func (h *harbor) send(_ context.Context, r carry.Request) (string, error) {
	if err := h.fails(r.Method + " " + r.Path); err != nil {
		return "", err
	}
	u, err := url.Parse(r.Path)
	if err != nil {
		h.t.Fatal(err)
	}
	if r.Method == http.MethodPost {
		if r.Body != nil || r.Want != http.StatusAccepted || r.Path != "/v2/multi-dc-demo/app/blobs/uploads/" {
			h.t.Errorf("a session is begun by %+v", r)
		}
		return h.location, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	d := digest.FromBytes(body)
	if r.Method != http.MethodPut || r.Want != http.StatusCreated || r.ContentType == "" || r.Size != int64(len(body)) && r.Size != -1 {
		h.t.Errorf("%s %s wants %d, %q, size %d", r.Method, r.Path, r.Want, r.ContentType, r.Size)
	}
	if named, ok := strings.CutPrefix(u.Path, "/v2/multi-dc-demo/app/manifests/"); ok {
		if named != d.String() && named != "v1" {
			h.t.Errorf("a manifest %s goes to %s", d, r.Path)
		}
		h.manifests[d] = true
		h.wrote = append(h.wrote, "manifest "+string(body)+" as "+r.ContentType)
		return "", nil
	}
	session, err := url.Parse(h.location)
	if err != nil {
		h.t.Fatal(err)
	}
	query := u.Query()
	for name, values := range session.Query() {
		if !slices.Equal(query[name], values) {
			h.t.Errorf("the session's %s is lost: %s", name, r.Path)
		}
	}
	if u.Path != session.Path || query.Get("digest") != d.String() || len(query) != len(session.Query())+1 {
		h.t.Errorf("blob %s goes to %s", d, r.Path)
	}
	h.blobs[d] = true
	h.wrote = append(h.wrote, "blob "+string(body))
	return "", nil
}

// held is content by its digest.
type held map[digest.Digest]string

func (c held) add(content string) digest.Digest {
	d := digest.FromString(content)
	c[d] = content
	return d
}

// image adds an image of one layer, and its config.
func (c held) image(name string) string {
	return fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":%q}]}`, c.add(name+"-config"), c.add(name+"-layer"))
}

func (c held) from() carry.From {
	return carry.From{
		Manifest: func(_ context.Context, d digest.Digest) ([]byte, error) {
			if content, ok := c[d]; ok {
				return []byte(content), nil
			}
			return nil, nil
		},
		Blob: func(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
			if content, ok := c[d]; ok {
				return io.NopCloser(strings.NewReader(content)), int64(len(content)), nil
			}
			return nil, 0, nil
		},
	}
}

func index(of ...digest.Digest) string {
	var parts []string
	for _, d := range of {
		parts = append(parts, fmt.Sprintf(`{"digest":%q,"mediaType":"application/vnd.child"}`, d))
	}
	return `{"manifests":[` + strings.Join(parts, ",") + `]}`
}

// What a manifest names comes before it, however deep it is nested; what is there already
// is not sent again.
func TestContentComesBeforeWhatNamesIt(t *testing.T) {
	c, h := held{}, newHarbor(t)
	a, b := c.image("a"), c.image("b")
	inner := index(c.add(b))
	top := index(c.add(a), c.add(inner))
	if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(top)); err != nil {
		t.Fatal(err)
	}
	want := []string{"blob a-layer", "blob a-config", "manifest " + a + " as application/vnd.child", "blob b-layer", "blob b-config", "manifest " + b + " as application/vnd.child", "manifest " + inner + " as application/vnd.child"}
	if !slices.Equal(h.wrote, want) {
		t.Errorf("wrote\n%s\nwant\n%s", strings.Join(h.wrote, "\n"), strings.Join(want, "\n"))
	}
	h.wrote = nil
	if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(top)); err != nil || len(h.wrote) > 0 {
		t.Errorf("again: %v, %q", err, h.wrote)
	}
	if err := carry.Manifest(t.Context(), h.to(), "v1", "application/vnd.type", []byte(top)); err != nil || !slices.Equal(h.wrote, []string{"manifest " + top + " as application/vnd.type"}) {
		t.Errorf("the manifest itself: %v, %q", err, h.wrote)
	}
}

// A manifest is written as what it is, where nobody has said that: an index need not name
// the types of its children, nor have one inside.
func TestAManifestIsWrittenAsWhatItIs(t *testing.T) {
	h, c := newHarbor(t), held{}
	inner := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q}]}`, c.add(c.image("a")))
	top := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"mediaType":"application/octet-stream"}]}`, c.add(inner))
	if err := errors.Join(carry.Parts(t.Context(), c.from(), h.to(), []byte(top)), carry.Manifest(t.Context(), h.to(), "v1", "", []byte(top))); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{2: "application/vnd.oci.image.manifest.v1+json", 3: "application/vnd.oci.image.index.v1+json", 4: "application/vnd.oci.image.index.v1+json"} {
		if len(h.wrote) != 5 || !strings.HasSuffix(h.wrote[i], " as "+want) {
			t.Errorf("%d of %q, want %s", i, h.wrote, want)
		}
	}
}

// What is not to be had is left out, and so is what a client fetches from elsewhere.
func TestWhatIsLeftOut(t *testing.T) {
	c := held{}
	foreign := c.add("foreign")
	for name, manifest := range map[string]string{
		"a layer that is not to be had": fmt.Sprintf(`{"layers":[{"digest":%q},{"digest":%q}]}`, digest.FromString("missing"), c.add("layer")),
		"a child that is not to be had": fmt.Sprintf(`{"manifests":[{"digest":%q}],"layers":[{"digest":%q}]}`, digest.FromString("missing"), c.add("layer")),
		"a foreign layer":               fmt.Sprintf(`{"layers":[{"digest":%q,"urls":["https://example.com/x"]},{"digest":%q}]}`, foreign, c.add("layer")),
		"what is no digest":             fmt.Sprintf(`{"config":{"digest":"../../x"},"layers":[{"digest":"sha256:x"},{"digest":%q}],"manifests":[{"digest":"?"}]}`, c.add("layer")),
	} {
		h := newHarbor(t)
		if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(manifest)); err != nil || !slices.Equal(h.wrote, []string{"blob layer"}) {
			t.Errorf("%s: %v, %q", name, err, h.wrote)
		}
	}
	for name, manifest := range map[string]string{"no JSON": "x", "nothing": "{}", "a great many parts": `{"layers":[` + strings.Repeat(fmt.Sprintf(`{"digest":%q},`, c.add("layer")), 1000) + `{}]}`} {
		h := newHarbor(t)
		if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(manifest)); err != nil || len(h.wrote) > 0 {
			t.Errorf("%s: %v, %q", name, err, h.wrote)
		}
	}
	deep := c.add(c.image("deep"))
	for range 5 {
		deep = c.add(index(deep))
	}
	h := newHarbor(t)
	if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(index(deep))); err != nil || len(h.wrote) != 2 {
		t.Errorf("an index of indexes of indexes: %v, %q", err, h.wrote)
	}
}

// The Location of a session may have a query; the digest is added to it.
func TestALocationWithAQuery(t *testing.T) {
	for _, location := range []string{"/v2/multi-dc-demo/app/blobs/uploads/1?_state=a%2Bb%3D&x=%C3%A4", "http://harbor/v2/multi-dc-demo/app/blobs/uploads/1?_state=s", "/v2/multi-dc-demo/app/blobs/uploads/1"} {
		c, h := held{}, newHarbor(t)
		h.location = location
		if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(c.image("a"))); err != nil || len(h.wrote) != 2 {
			t.Errorf("%s: %v, %q", location, err, h.wrote)
		}
	}
	c, h := held{}, newHarbor(t)
	h.location = "http://[::1"
	if err := carry.Parts(t.Context(), c.from(), h.to(), []byte(c.image("a"))); err == nil || len(h.wrote) > 0 {
		t.Errorf("what is no URL: %v", err)
	}
}

// A part that Harbor refuses is an error, and what names it is not written.
func TestARefusalOfAPart(t *testing.T) {
	for _, fail := range []string{"HEAD blob", "HEAD manifest", "POST ", "PUT /v2/multi-dc-demo/app/blobs/", "PUT /v2/multi-dc-demo/app/manifests/"} {
		c, h := held{}, newHarbor(t)
		h.fail = fail
		err := carry.Parts(t.Context(), c.from(), h.to(), []byte(index(c.add(c.image("a")))))
		if !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", fail, err)
		}
		for _, wrote := range h.wrote {
			if strings.HasPrefix(wrote, "manifest") {
				t.Errorf("%s failed, and it wrote %s", fail, wrote)
			}
		}
	}
	c, h := held{}, newHarbor(t)
	from := c.from()
	from.Blob = func(context.Context, digest.Digest) (io.ReadCloser, int64, error) { return nil, 0, io.ErrUnexpectedEOF }
	if err := carry.Parts(t.Context(), from, h.to(), []byte(c.image("a"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a source that breaks: %v", err)
	}
}
