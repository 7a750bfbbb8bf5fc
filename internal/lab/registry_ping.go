package lab

import (
	"context"
	"crypto/tls"
	_ "embed" // the static answers
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// pingRegistry tries a registry that is kept, with whatever the body changes, or
// one that is not.
func (h *Harbor) pingRegistry(c *apiCall) error {
	var body registryBody
	err := c.read("registry", &body)
	if err != nil {
		return err
	}
	var r registryRecord
	if body.ID != nil {
		if r, err = h.registryOf(*body.ID); err != nil {
			return err
		}
	} else if body.Type != nil {
		r.Type = *body.Type
	}
	body.apply(&r)
	if r.Type == "" || r.URL == "" {
		return badRequest("type or url cannot be empty")
	}
	if err := r.checkURL(); err != nil {
		return err
	}
	return h.ping(c.r.Context(), &r)
}

// ping logs in at the registry, as Harbor does before it keeps one. A Harbor is
// asked for its version first, and not to reach it is nobody's expectation: 500.
func (h *Harbor) ping(ctx context.Context, r *registryRecord) error {
	if !slices.Contains(adapters, r.Type) {
		return broken()
	}
	client := registryClient(r, 10*time.Second)
	if r.Type == "harbor" {
		if _, err := h.adapterVersion(ctx, client, r); err != nil {
			return broken()
		}
	}
	if !h.logsIn(ctx, client, r) {
		return badRequest("the registry is unhealthy")
	}
	return nil
}

// registryClient is a client for one registry, without connections that stay.
func registryClient(r *registryRecord, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: r.Insecure}}} //nolint:gosec // as the registry says
}

// adapterVersion is the first that Harbor asks another one.
func (h *Harbor) adapterVersion(ctx context.Context, client *http.Client, r *registryRecord) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.where(r.URL)+"/api/version", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return string(body), err
}

// logsIn asks /v2/ with the credentials, and with a token where one is wanted.
func (h *Harbor) logsIn(ctx context.Context, client *http.Client, r *registryRecord) bool {
	get := func(address, bearer string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil
		}
		req.Header.Set("User-Agent", "harbor-registry-client")
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		} else if r.Credential.AccessKey != "" {
			req.SetBasicAuth(r.Credential.AccessKey, r.Credential.AccessSecret)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil
		}
		return resp
	}
	root := h.where(r.URL) + "/v2/"
	resp := get(root, "")
	if resp == nil {
		return false
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return resp.StatusCode == http.StatusOK
	}
	for _, challenge := range registry.ParseChallenges(resp.Header["Www-Authenticate"]) {
		realm := challenge.Params["realm"]
		if !strings.EqualFold(challenge.Scheme, "bearer") || realm == "" {
			continue
		}
		answer := get(fmt.Sprintf("%s?service=%s", realm, url.QueryEscape(challenge.Params["service"])), "")
		if answer == nil {
			return false
		}
		var token struct{ Token string }
		err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&token)
		answer.Body.Close()
		if err != nil || token.Token == "" {
			return false
		}
		resp := get(root, token.Token)
		if resp != nil {
			resp.Body.Close()
		}
		return resp != nil && resp.StatusCode == http.StatusOK
	}
	return false
}
