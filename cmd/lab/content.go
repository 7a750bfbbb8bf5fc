package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/lab/content"
)

// made is what the registries are filled with.
type made struct {
	hello      v1.Image // nil where this system's binaries run in no container
	multi      v1.ImageIndex
	big        v1.Image
	signed     v1.Image
	signature  *content.Artifact
	signatureT string // its tag
	sbom       *content.Artifact
	chart      *content.Artifact
	publicKey  []byte
}

const chartVersion = "0.1.0"

func makeContent() (m made, err error) {
	if m.hello, err = content.Runnable("lab", "--version"); err != nil && !errors.Is(err, content.ErrNoContainers) {
		return m, err
	}
	if m.multi, err = content.Index(m.hello); err != nil {
		return m, err
	}
	if m.big, err = content.Big(content.Platform(), 8, 64, 128); err != nil {
		return m, err
	}
	if m.signed, err = content.Big(content.Platform(), 1); err != nil {
		return m, err
	}
	signer, err := content.NewSigner()
	if err != nil {
		return m, err
	}
	if m.publicKey, err = signer.PublicKey(); err != nil {
		return m, err
	}
	if m.signature, m.signatureT, err = signer.Sign(m.signed, "library/signed"); err != nil {
		return m, err
	}
	if m.sbom, err = content.SBOM(m.signed); err != nil {
		return m, err
	}
	m.chart, err = content.Chart("hello", chartVersion)
	return m, err
}

// fill pushes the content: public images into the hub, a private image with its
// signature and SBOM into every Harbor.
func (l *running) fill(ctx context.Context) error {
	m, err := makeContent()
	if err != nil {
		return fmt.Errorf("make content: %w", err)
	}
	l.report.PublicKey = filepath.Join(l.dir, "cosign.pub")
	if err := os.WriteFile(l.report.PublicKey, m.publicKey, 0o600); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	hub := content.Target{Host: strings.TrimPrefix(l.hub.URL(), "http://")}
	group.Go(func() error { return l.fillHub(ctx, hub, m) })
	for _, h := range l.harbors {
		username, password := h.Admin()
		to := content.Target{Host: strings.TrimPrefix(h.URL(), "http://"), Username: username, Password: password}
		group.Go(func() error { return pushSigned(ctx, to, "multi-dc-demo/app", "v1", m) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	l.report.Images = append(l.report.Images, "cache-dockerhub/library/multi:latest", "cache-dockerhub/library/big:latest", "cache-dockerhub/library/signed:latest", "multi-dc-demo/app:v1")
	l.report.Charts = []string{"cache-dockerhub/charts/hello"}
	l.hub.ResetRequests()
	for _, h := range l.harbors {
		h.ResetRequests()
	}
	return nil
}

func (l *running) fillHub(ctx context.Context, hub content.Target, m made) error {
	if m.hello != nil {
		if err := hub.Push(ctx, "library/hello:latest", m.hello); err != nil {
			return err
		}
		l.report.Images = []string{"cache-dockerhub/library/hello:latest"}
	}
	return errors.Join(
		hub.Push(ctx, "library/multi:latest", m.multi),
		hub.Push(ctx, "library/big:latest", m.big),
		pushSigned(ctx, hub, "library/signed", "latest", m),
		hub.Push(ctx, "charts/hello:"+chartVersion, m.chart),
	)
}

// pushSigned pushes the signed image, its signature and what refers to it.
func pushSigned(ctx context.Context, to content.Target, repo, tag string, m made) error {
	digest, err := m.sbom.Digest()
	if err != nil {
		return err
	}
	return errors.Join(
		to.Push(ctx, repo+":"+tag, m.signed),
		to.Push(ctx, repo+":"+m.signatureT, m.signature),
		to.Push(ctx, repo+"@"+digest.String(), m.sbom),
	)
}
