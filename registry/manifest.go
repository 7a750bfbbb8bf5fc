package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// MaxManifest is the size of the largest manifest, in bytes: the OCI distribution
// specification's advice to registries.
const MaxManifest = 4 << 20

// ManifestTooLarge is the refusal of a larger one (OCI distribution specification, "Pushing
// Manifests": 413).
func ManifestTooLarge() *Error {
	e := Errorf(CodeManifestInvalid, "the manifest is larger than %d bytes", MaxManifest)
	e.Status = http.StatusRequestEntityTooLarge
	return e
}

// TypeIndex is the media type of an OCI image index; the others are those of manifests that
// may have none inside.
const (
	TypeIndex   = "application/vnd.oci.image.index.v1+json"
	typeImage   = "application/vnd.oci.image.manifest.v1+json"
	typeSchema1 = "application/vnd.docker.distribution.manifest.v1+json"
	typeSigned  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// form is what a manifest lists: manifests, or what one image is made of, in the way of the
// specification or of Docker's schema 1.
type form int

const (
	formUnknown form = iota
	formIndex
	formImage
	formSchema1
)

// forms are those of the media types that name one.
var forms = map[string]form{
	TypeIndex: formIndex, "application/vnd.docker.distribution.manifest.list.v2+json": formIndex,
	typeImage: formImage, "application/vnd.docker.distribution.manifest.v2+json": formImage,
	typeSchema1: formSchema1, typeSigned: formSchema1,
}

// contents is what tells of which form a manifest is.
type contents struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     json.RawMessage `json:"manifests"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Signatures    json.RawMessage `json:"signatures"`
}

func (in *contents) form() form {
	is := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	index, image := is(in.Manifests), is(in.Config) || is(in.Layers)
	switch {
	case in.SchemaVersion == 1:
		return formSchema1
	case index && !image:
		return formIndex
	case image && !index:
		return formImage
	}
	return formUnknown
}

// ManifestType is the media type to serve a manifest with: the one that its source names,
// because helm's manifests have none inside; where that says nothing or is another
// form's, the one inside; and where there is none, that of its form. What is no manifest
// at all, as a login page with status 200, is an error.
func ManifestType(contentType string, manifest []byte) (string, error) {
	var in contents
	if err := json.Unmarshal(manifest, &in); err != nil || in.SchemaVersion == 0 && in.MediaType == "" && in.form() == formUnknown {
		return "", errors.New("the source sent something that is no manifest")
	}
	is := in.form()
	for _, t := range []string{MediaType(contentType), MediaType(in.MediaType)} {
		said := forms[t]
		if strings.HasPrefix(t, "application/vnd.") && (said == is || said == formUnknown || is == formUnknown) {
			return t, nil
		}
	}
	switch {
	case is == formIndex:
		return TypeIndex, nil
	case is == formSchema1 && len(in.Signatures) > 0:
		return typeSigned, nil
	case is == formSchema1:
		return typeSchema1, nil
	}
	return typeImage, nil
}

// MediaType is the media type of a Content-Type, without its parameters; "" for none, or
// one that is longer than any (RFC 6838, section 4.2).
func MediaType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || len(t) > 255 {
		return ""
	}
	return t
}

// ManifestDigest is the digest that registries give a manifest. It is of its bytes or, of
// a signed schema 1, of what is signed.
func ManifestDigest(manifest []byte) digest.Digest {
	if payload, ok := signed(manifest); ok {
		return digest.FromBytes(payload)
	}
	return digest.FromBytes(manifest)
}

// CheckManifest is an error where a manifest has another digest. The digest of a signed
// schema 1's bytes is good too: some registries give it.
func CheckManifest(d digest.Digest, manifest []byte) error {
	got := d.Algorithm().FromBytes(manifest)
	if got == d {
		return nil
	}
	if payload, ok := signed(manifest); ok && d.Algorithm().FromBytes(payload) == d {
		return nil
	}
	return fmt.Errorf("it has the digest %s", got)
}

// signed is what is signed of a signed schema 1 (distribution, "Image Manifest Version 2,
// Schema 1"): all but the signatures, which stand before the payload's tail. ok is false
// where there is more between them: it would be served under a digest that is not of it.
func signed(manifest []byte) (payload []byte, ok bool) {
	const space = " \t\r\n"
	var in struct {
		SchemaVersion int `json:"schemaVersion"`
		Signatures    []struct {
			Protected string `json:"protected"`
		} `json:"signatures"`
	}
	if !bytes.Contains(manifest, []byte(`"signatures"`)) || json.Unmarshal(manifest, &in) != nil || in.SchemaVersion != 1 || len(in.Signatures) == 0 {
		return nil, false
	}
	var cut struct {
		Length int    `json:"formatLength"`
		Tail   string `json:"formatTail"`
	}
	protected, err := unpadded(in.Signatures[0].Protected)
	if err != nil || json.Unmarshal(protected, &cut) != nil || cut.Length < 0 || cut.Length > len(manifest) {
		return nil, false
	}
	tail, err := unpadded(cut.Tail)
	if err != nil {
		return nil, false
	}
	between, ended := bytes.CutSuffix(bytes.TrimRight(manifest[cut.Length:], space), bytes.TrimRight(tail, space))
	between, listed := bytes.CutPrefix(bytes.TrimSpace(between), []byte(","))
	between, named := bytes.CutPrefix(bytes.TrimSpace(between), []byte(`"signatures"`))
	between, valued := bytes.CutPrefix(bytes.TrimSpace(between), []byte(":"))
	if !ended || !listed || !named || !valued || !json.Valid(between) {
		return nil, false
	}
	return append(bytes.Clone(manifest[:cut.Length]), tail...), true
}

// unpadded decodes base64 as JSON web signatures have it (RFC 7515, section 2).
func unpadded(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}
