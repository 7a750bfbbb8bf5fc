package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// spreadClient pushes and pulls small images, with one token for all.
type spreadClient struct {
	http  http.Client
	token string
}

const (
	imageManifest = "application/vnd.oci.image.manifest.v1+json"
	emptyConfig   = "{}"
	smallLayer    = 1 << 10 // bytes
)

// spreadManifest is the manifest of an image of one layer, which says how often its tag
// has been pushed.
type spreadManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        spreadPart        `json:"config"`
	Layers        []spreadPart      `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

type spreadPart struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func newSpreadClient(ctx context.Context, harbor string) (*spreadClient, error) {
	c := &spreadClient{http: http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	scope := url.Values{"service": {"harbor-registry"}}
	for _, project := range []string{spreadProject, aloneProject} {
		scope.Add("scope", "repository:"+project+"/app:pull,push")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, harbor+"/service/token?"+scope.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("robot$"+clientName, robotSecret)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		return nil, fmt.Errorf("get a token: %s", resp.Status)
	}
	c.token = answer.Token
	return c, nil
}

// call sends a request and reads its answer.
func (c *spreadClient) call(ctx context.Context, method, where, mediaType string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, where, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

// send is a call of which only one answer will do.
func (c *spreadClient) send(ctx context.Context, want int, method, where, mediaType string, body []byte) (http.Header, error) {
	resp, text, err := c.call(ctx, method, where, mediaType, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s %.200s", method, where, resp.Status, text)
	}
	return resp.Header, nil
}

// pushBlob pushes as docker does: it opens a session and sends all in it.
func (c *spreadClient) pushBlob(ctx context.Context, base, repo string, content []byte) (spreadPart, error) {
	part := spreadPart{"application/octet-stream", fmt.Sprintf("sha256:%x", sha256.Sum256(content)), len(content)}
	header, err := c.send(ctx, http.StatusAccepted, http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		return part, err
	}
	at, err := url.Parse(base)
	if err != nil {
		return part, err
	}
	if at, err = at.Parse(header.Get("Location")); err != nil {
		return part, err
	}
	query := at.Query()
	query.Set("digest", part.Digest)
	at.RawQuery = query.Encode()
	_, err = c.send(ctx, http.StatusCreated, http.MethodPut, at.String(), part.MediaType, content)
	return part, err
}

// push pushes an image, its config aside, for the n-th time under a tag. It returns which
// datacenters had acknowledged that, and when the push was answered.
func (c *spreadClient) push(ctx context.Context, base, repo, tag string, n int) (acknowledged string, took time.Duration, answered time.Time, err error) {
	content := make([]byte, smallLayer)
	rand.Read(content) //nolint:errcheck // it never fails
	layer, err := c.pushBlob(ctx, base, repo, content)
	if err != nil {
		return "", 0, answered, err
	}
	manifest, err := json.Marshal(spreadManifest{2, imageManifest, spreadPart{"application/vnd.oci.empty.v1+json", fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(emptyConfig))), len(emptyConfig)},
		[]spreadPart{layer}, map[string]string{"push": fmt.Sprint(n)}})
	if err != nil {
		return "", 0, answered, err
	}
	begun := time.Now()
	header, err := c.send(ctx, http.StatusCreated, http.MethodPut, base+"/v2/"+repo+"/manifests/"+tag, imageManifest, manifest)
	answered = time.Now()
	return header.Get("Breakwater-Acknowledged"), answered.Sub(begun), answered, err
}

// pull pulls a tag's manifest, and returns which of its pushes that is; 0: none is there.
func (c *spreadClient) pull(ctx context.Context, base, repo, tag string) (n int, layer string, err error) {
	resp, text, err := c.call(ctx, http.MethodGet, base+"/v2/"+repo+"/manifests/"+tag, "", nil)
	switch {
	case err != nil:
		return 0, "", err
	case resp.StatusCode == http.StatusNotFound:
		return 0, "", nil
	case resp.StatusCode != http.StatusOK:
		return 0, "", fmt.Errorf("pull %s: %s %.200s", tag, resp.Status, text)
	}
	var m spreadManifest
	if err := json.Unmarshal(text, &m); err != nil || len(m.Layers) != 1 {
		return 0, "", fmt.Errorf("pull %s: %.200s", tag, text)
	}
	_, err = fmt.Sscan(m.Annotations["push"], &n)
	return n, m.Layers[0].Digest, err
}

// pullLayer pulls the layer, and compares it with its digest.
func (c *spreadClient) pullLayer(ctx context.Context, base, repo, layer string) error {
	resp, content, err := c.call(ctx, http.MethodGet, base+"/v2/"+repo+"/blobs/"+layer, "", nil)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(content)); resp.StatusCode != http.StatusOK || got != layer {
		return fmt.Errorf("pull a layer: %s, %s instead of %s", resp.Status, got, layer)
	}
	return nil
}
