package lab

import (
	"context"
	_ "embed" // the static answers
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
)

//go:embed static/configurations.json
var configurationsJSON []byte

// hidden are settings that are taken and never told.
var hidden = []string{"oidc_client_secret", "ldap_search_password"}

// defaultConfig is the configuration that Harbor is installed with: strings,
// bools and int64s.
func defaultConfig() map[string]any {
	var raw map[string]any
	if err := json.Unmarshal(configurationsJSON, &raw); err != nil {
		panic(err)
	}
	for name, v := range raw {
		if f, ok := v.(float64); ok {
			raw[name] = int64(f)
		}
	}
	for _, name := range hidden {
		raw[name] = ""
	}
	return raw
}

// number is a setting that is a number.
func (d *database) number(name string) int64 {
	n, _ := d.config[name].(int64)
	return n
}

func (h *Harbor) getConfig(c *apiCall) error {
	shown := map[string]any{"scan_all_policy": map[string]any{}}
	for name, value := range h.db.config {
		if !slices.Contains(hidden, name) {
			shown[name] = map[string]any{"editable": name != "auth_mode" || len(h.db.users) == 0, "value": value}
		}
	}
	return c.reply(shown)
}

var authModes = []string{"db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth"}

// putConfig changes what it knows and ignores the rest.
func (h *Harbor) putConfig(c *apiCall) error {
	var body map[string]json.RawMessage
	if err := c.read("configurations", &body); err != nil {
		return err
	}
	changes := map[string]any{}
	for name, raw := range body {
		old, known := h.db.config[name]
		if !known || string(raw) == "null" {
			continue
		}
		value, err := decodeLike(old, raw)
		if err != nil {
			return invalid("parsing configurations body from \"\" failed, because json: cannot unmarshal %s into Go struct field Configurations.%s of type %T", jsonKind(raw), name, old)
		}
		changes[name] = value
	}
	if mode, ok := changes["auth_mode"].(string); ok && mode != h.db.config["auth_mode"] {
		if !slices.Contains(authModes, mode) {
			return badRequest("bad request: item name auth_mode: invalid auth_mode, shoud be one of db_auth, ldap_auth, uaa_auth, http_auth, oidc_auth")
		}
		if len(h.db.users) > 0 {
			return badRequest("the auth mode cannot be modified as new users have been inserted into database")
		}
	}
	if redirect, ok := changes["oidc_extra_redirect_parms"].(string); ok && redirect != "" {
		var m map[string]string
		if err := json.Unmarshal([]byte(redirect), &m); err != nil {
			return badRequest("bad request: item name oidc_extra_redirect_parms: %v", err)
		}
	}
	for name, value := range changes {
		h.db.config[name] = value
	}
	return nil
}

// decodeLike decodes into the type that the setting has.
func decodeLike(old any, raw json.RawMessage) (any, error) {
	switch old.(type) {
	case bool:
		var v bool
		err := json.Unmarshal(raw, &v)
		return v, err
	case int64:
		var v int64
		err := json.Unmarshal(raw, &v)
		return v, err
	}
	var v string
	err := json.Unmarshal(raw, &v)
	return v, err
}

// jsonKind names a value as encoding/json's errors do.
func jsonKind(raw json.RawMessage) string {
	var v any
	json.Unmarshal(raw, &v) //nolint:errcheck // it was decoded before
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "number"
}

// text is v as JSON.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// getJSON fetches a JSON document.
func getJSON(ctx context.Context, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v)
}
