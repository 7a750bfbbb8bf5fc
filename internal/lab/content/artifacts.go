package content

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Chart is a helm chart as helm pushes it: the manifest has no media type inside.
func Chart(name, version string) (*Artifact, error) {
	metadata := fmt.Sprintf("apiVersion: v2\nname: %s\ndescription: A chart of the lab\ntype: application\nversion: %s\nappVersion: %q\n", name, version, version)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	for _, f := range []file{
		{path: "Chart.yaml", content: []byte(metadata)},
		{path: "values.yaml", content: []byte("greeting: hello from the lab\n")},
		{path: "templates/configmap.yaml", content: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  greeting: {{ .Values.greeting | quote }}\n")},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + f.path, Mode: 0o644, Size: int64(len(f.content)), ModTime: epoch}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]string{"apiVersion": "v2", "name": name, "version": version, "appVersion": version, "description": "A chart of the lab", "type": "application"})
	if err != nil {
		return nil, err
	}
	return newArtifact(manifest{Annotations: map[string]string{"org.opencontainers.image.title": name, "org.opencontainers.image.version": version}},
		static.NewLayer(config, "application/vnd.cncf.helm.config.v1+json"),
		static.NewLayer(packed.Bytes(), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
}

// subject is the descriptor of an image that others refer to.
func subject(img v1.Image) (*descriptor, error) {
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	return &descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: int64(len(raw))}, err
}

// SBOM is a software bill of materials that refers to the image (OCI image
// manifest, "subject").
func SBOM(img v1.Image) (*Artifact, error) {
	to, err := subject(img)
	if err != nil {
		return nil, err
	}
	const spdx = "application/spdx+json"
	return newArtifact(manifest{MediaType: types.OCIManifestSchema1, ArtifactType: spdx, Subject: to},
		static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json"),
		static.NewLayer([]byte(`{"spdxVersion":"SPDX-2.3","name":"breakwater lab"}`), spdx))
}

// Signer signs images as cosign does with a key pair, ECDSA on P-256.
type Signer struct{ key *ecdsa.PrivateKey }

// NewSigner makes a key pair.
func NewSigner() (Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return Signer{key}, err
}

// PublicKey is the key that verifies, in PEM.
func (s Signer) PublicKey() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// Sign returns the signature of the image and the tag under which cosign looks
// for it (cosign's SIGNATURE_SPEC: a "simple signing" payload).
func (s Signer) Sign(img v1.Image, reference string) (signature *Artifact, tag string, err error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, "", err
	}
	payload, err := json.Marshal(map[string]any{"critical": map[string]any{
		"identity": map[string]string{"docker-reference": reference},
		"image":    map[string]string{"docker-manifest-digest": digest.String()},
		"type":     "cosign container image signature",
	}, "optional": nil})
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(payload)
	raw, err := ecdsa.SignASN1(rand.Reader, s.key, sum[:])
	if err != nil {
		return nil, "", err
	}
	layer := annotatedLayer{static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(raw)}}
	config := fmt.Sprintf(`{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"type":"layers","diff_ids":["sha256:%x"]},"config":{}}`, sum)
	signature, err = newArtifact(manifest{MediaType: types.OCIManifestSchema1}, static.NewLayer([]byte(config), types.OCIConfigJSON), layer)
	return signature, digest.Algorithm + "-" + digest.Hex + ".sig", err
}
