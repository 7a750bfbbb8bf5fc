package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// call asks Harbor's API past go-client, whose models drop what they do not know.
func (h *harbor) call(ctx context.Context, method, path string, body, into any) (http.Header, error) {
	var sent bytes.Buffer
	if body != nil {
		out := json.NewEncoder(&sent)
		out.SetEscapeHTML(false)
		if err := out.Encode(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, h.base+client.DefaultBasePath+path, &sent)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 != 2:
		var errs models.Errors
		if err := json.NewDecoder(resp.Body).Decode(&errs); err != nil || len(errs.Errors) == 0 {
			return nil, said{"this Harbor answers " + resp.Status, resp.StatusCode}
		}
		return nil, said{"this Harbor answers: " + errs.Errors[0].Message, resp.StatusCode}
	case into == nil:
		return resp.Header, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return nil, fmt.Errorf("this Harbor answers what is no JSON: %w", err)
	}
	return resp.Header, nil
}

// raw is an object as Harbor shows it.
type raw map[string]json.RawMessage

// over is the object with our fields in it, and everything else as it came.
func (r raw) over(ours map[string]any) (raw, error) {
	out := raw{}
	for k, v := range r {
		out[k] = v
	}
	for k, v := range ours {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out[k] = text
	}
	return out, nil
}

// putOver writes our fields of what is at the path. Harbor's PUT replaces the whole object,
// and what is absent becomes nothing: what is not ours, and what this program has never
// heard of, is sent back as it came.
func (h *harbor) putOver(ctx context.Context, path string, ours map[string]any) error {
	var have raw
	if _, err := h.call(ctx, http.MethodGet, path, nil, &have); err != nil {
		return err
	}
	body, err := have.over(ours)
	if err != nil {
		return err
	}
	_, err = h.call(ctx, http.MethodPut, path, body, nil)
	return err
}
