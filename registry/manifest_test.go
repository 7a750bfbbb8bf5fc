package registry

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const dockerList, dockerImage = "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json"

// What a manifest is called: by its source, where that says anything and nothing inside
// speaks against it.
func TestManifestType(t *testing.T) {
	const (
		index    = `{"schemaVersion":2,"manifests":[{"digest":"x"}]}`
		image    = `{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}`
		artifact = `{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}`
		list     = `{"schemaVersion":2,"mediaType":"` + dockerList + `","manifests":[]}`
		both     = `{"schemaVersion":2,"manifests":[],"layers":[]}`
		old      = `{"schemaVersion":1,"fsLayers":[]}`
		oldest   = `{"schemaVersion":1,"fsLayers":[],"signatures":[{}]}`
	)
	for _, nothing := range []string{"", "application/octet-stream", "binary/octet-stream", "text/plain; charset=utf-8", "application/json", "APPLICATION/JSON;charset=UTF-8", "text/html", "application/json; charset", "/", "application/" + strings.Repeat("x", 300)} {
		for body, want := range map[string]string{
			index: TypeIndex, image: typeImage, list: dockerList, artifact: "application/vnd.oci.artifact.manifest.v1+json", old: typeSchema1, oldest: typeSigned,
			`{"manifests":[]}`: TypeIndex, `{"layers":[]}`: typeImage, `{"schemaVersion":2}`: typeImage, `{"schemaVersion":2,"mediaType":"x/y","manifests":[]}`: TypeIndex,
			`{"schemaVersion":2,"config":{},"layers":[],"manifests":null}`: typeImage,
		} {
			if got, err := ManifestType(nothing, []byte(body)); err != nil || got != want {
				t.Errorf("%q, %s: %q, %v, want %q", nothing, body, got, err, want)
			}
		}
	}
	for _, c := range []struct{ said, body, want string }{
		{dockerList, index, dockerList}, {strings.ToUpper(dockerList), index, dockerList}, {TypeIndex + "; charset=utf-8", list, TypeIndex},
		{typeImage, index, TypeIndex}, {typeImage, list, dockerList}, {TypeIndex, image, typeImage}, {dockerImage, old, typeSchema1},
		{typeSigned, oldest, typeSigned}, {typeSchema1, oldest, typeSchema1}, {typeImage, both, typeImage}, {TypeIndex, both, TypeIndex},
		{"application/vnd.example+json", index, "application/vnd.example+json"}, {typeImage, artifact, typeImage}, {typeImage + "; charset", image, typeImage},
	} {
		if got, err := ManifestType(c.said, []byte(c.body)); err != nil || got != c.want {
			t.Errorf("said to be %q, %s: %q, %v, want %q", c.said, c.body, got, err, c.want)
		}
	}
	for _, none := range []string{"", "<html>", "[]", `"x"`, "7", "null", "{}", `{"token":"x"}`, `{"errors":[]}`, `{"manifests":null}`} {
		if got, err := ManifestType(typeImage, []byte(none)); err == nil {
			t.Errorf("%s is %q", none, got)
		}
	}
}

// signatures are what a registry puts before the end of a schema 1 (distribution, "Image
// Manifest Version 2, Schema 1").
func signatures(payload string, length int, tail string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	protected := b64(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q,"time":"2015-01-01T00:00:00Z"}`, length, b64([]byte(tail))))
	return payload[:length] + ",\n   \"signatures\": [\n      {\n         \"header\": {\"alg\": \"ES256\"},\n         \"signature\": \"AAAA\",\n         \"protected\": \"" + protected + "\"\n      }\n   ]" + tail
}

// The digest of a signed schema 1 is that of what is signed. What else stands in it is
// served under no digest.
func TestTheDigestOfASignedManifest(t *testing.T) {
	payload := "{\n   \"schemaVersion\": 1,\n   \"name\": \"old/app\",\n   \"fsLayers\": []\n}"
	end := len(payload) - len("\n}")
	good, compact := signatures(payload, end, "\n}"), `{"schemaVersion":1,"fsLayers":[]}`
	for name, c := range map[string]struct{ body, payload string }{
		"as distribution writes it":   {good, payload},
		"without white space":         {signatures(compact, len(compact)-1, "}"), compact},
		"with a line end behind":      {good + "\n", payload},
		"unsigned":                    {payload, payload},
		"schema 2":                    {strings.Replace(good, `"schemaVersion": 1`, `"schemaVersion": 2`, 1), ""},
		"more beside the signatures":  {strings.Replace(good, `,`+"\n   \"signatures\"", `,"fsLayers":[{}],`+"\n   \"signatures\"", 1), ""},
		"more behind them":            {good[:len(good)-2] + `,"fsLayers":[{}]` + "\n}", ""},
		"a length beyond its end":     {strings.Replace(good, base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength":%d`, end)), base64.RawURLEncoding.EncodeToString([]byte(`{"formatLength":99999`)), 1), ""},
		"no protected header":         {strings.Replace(good, `"protected"`, `"other"`, 1), ""},
		"signatures that are no list": {`{"schemaVersion":1,"signatures":7}`, ""},
		"none":                        {`{"schemaVersion":1,"signatures":[]}`, ""},
	} {
		want := digest.FromString(c.payload)
		if c.payload == "" {
			want = digest.FromString(c.body)
		}
		if got := ManifestDigest([]byte(c.body)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if err := CheckManifest(want, []byte(c.body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := CheckManifest(digest.FromString(c.body), []byte(c.body)); err != nil {
			t.Errorf("%s, by its bytes: %v", name, err)
		}
		if err := CheckManifest(digest.FromString("x"), []byte(c.body)); err == nil {
			t.Errorf("%s has another digest", name)
		}
		if got := CheckManifest(digest.FromString(payload), []byte(c.body)) == nil; got != (c.payload == payload) {
			t.Errorf("%s: served as the payload %t", name, got)
		}
	}
	if err := CheckManifest(digest.SHA512.FromString(payload), []byte(good)); err != nil {
		t.Error(err)
	}
}
