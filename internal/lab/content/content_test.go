package content_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/lab/content"
)

func target(t *testing.T) content.Target {
	t.Helper()
	u, err := lab.StartUpstream(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return content.Target{Host: strings.TrimPrefix(u.URL(), "http://")}
}

func pushed(t *testing.T, to content.Target, reference string, what any) *remote.Descriptor {
	t.Helper()
	if err := to.Push(t.Context(), reference, what); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(to.Host+"/"+reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestImagesAreWhatTheySay(t *testing.T) {
	to := target(t)
	hello, err := content.Runnable("lab", "--version")
	if errors.Is(err, content.ErrNoContainers) {
		hello = nil
	} else if err != nil {
		t.Fatal(err)
	}
	big, err := content.Big(content.Platform(), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for reference, img := range map[string]v1.Image{"library/hello:latest": hello, "library/big:latest": big} {
		if img == nil {
			continue
		}
		back, err := pushed(t, to, reference, img).Image()
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(back, validate.Fast); err != nil { // in full it takes every layer for gzip
			t.Errorf("%s: %v", reference, err)
		}
		layers, err := back.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			r, err := l.Compressed() // verified as it is read
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Errorf("%s: %v", reference, err)
			}
			r.Close()
		}
	}
	index, err := content.Index(hello)
	if err != nil {
		t.Fatal(err)
	}
	back, err := pushed(t, to, "library/multi:latest", index).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(back, validate.Fast); err != nil {
		t.Error(err)
	}
}

// helm pushes manifests without a media type inside: it must be in the header.
func TestChartIsAsHelmPushesIt(t *testing.T) {
	chart, err := content.Chart("hello", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	d := pushed(t, target(t), "charts/hello:1.2.3", chart)
	if d.MediaType != "application/vnd.oci.image.manifest.v1+json" || strings.HasPrefix(string(d.Manifest), `{"schemaVersion":2,"mediaType"`) {
		t.Errorf("%s %s", d.MediaType, d.Manifest)
	}
}

func TestSignatureVerifies(t *testing.T) {
	img, err := content.Big(content.Platform(), 1)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := content.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	signature, tag, err := signer.Sign(img, "library/signed")
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := img.Digest()
	if tag != "sha256-"+digest.Hex+".sig" {
		t.Errorf("tag %s", tag)
	}
	back, err := pushed(t, target(t), "library/signed:"+tag, signature).Image()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := back.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	payload, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(payload), digest.String()) {
		t.Fatalf("%v in %s", err, payload)
	}
	m, err := back.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(m.Layers[0].Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	text, err := signer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(payload); !ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), sum[:], raw) {
		t.Error("the signature does not verify")
	}
}

func TestSBOMRefersToItsImage(t *testing.T) {
	img, err := content.Big(content.Platform(), 1)
	if err != nil {
		t.Fatal(err)
	}
	sbom, err := content.SBOM(img)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := sbom.RawManifest()
	var m struct {
		ArtifactType string
		Subject      struct{ Digest string }
	}
	digest, _ := img.Digest()
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject.Digest != digest.String() || m.ArtifactType != "application/spdx+json" {
		t.Errorf("%v in %s", err, raw)
	}
}
