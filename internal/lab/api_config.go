package lab

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func (h *Harbor) routeConfigurations(admin apiRoute) {
	admin("GET /api/v2.0/configurations", h.getConfigurations)
	admin("PUT /api/v2.0/configurations", h.putConfigurations)
}

// defaultConfiguration is what a fresh Harbor has, of what a provisioner may set.
func defaultConfiguration() map[string]any {
	return map[string]any{
		"auth_mode": "db_auth", "banner_message": "", "notification_enable": true, "oidc_admin_group": "", "oidc_auto_onboard": false, "oidc_client_id": "",
		"oidc_endpoint": "", "oidc_extra_redirect_parms": "{}", "oidc_group_filter": "", "oidc_groups_claim": "", "oidc_logout": false, "oidc_name": "", "oidc_scope": "",
		"oidc_user_claim": "", "oidc_verify_cert": false, "primary_auth_mode": false, "project_creation_restriction": "everyone", "quota_per_project_enable": true,
		"read_only": false, "robot_name_prefix": "robot$", "robot_token_duration": 30.0, "self_registration": false, "session_timeout": 60.0,
		"skip_audit_log_database": false, "storage_per_project": -1.0, "token_expiration": 30.0,
	}
}

// secretConfiguration is never shown.
var secretConfiguration = []string{"oidc_client_secret", "ldap_search_password", "uaa_client_secret"}

// text and number are of the configuration; the database is locked.
func (d *database) text(key, fallback string) string {
	if v, ok := d.configuration[key].(string); ok {
		return v
	}
	return fallback
}

func (d *database) number(key string, fallback float64) float64 {
	if v, ok := d.configuration[key].(float64); ok {
		return v
	}
	return fallback
}

func (h *Harbor) getConfigurations(w http.ResponseWriter, _ *http.Request) {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	type item struct {
		Editable bool `json:"editable"`
		Value    any  `json:"value"`
	}
	all := map[string]item{}
	for k, v := range h.db.configuration {
		if !slices.Contains(secretConfiguration, k) {
			all[k] = item{k != "auth_mode" || !h.db.otherUsers, v}
		}
	}
	writeJSON(w, http.StatusOK, apiJSON, all)
}

// putConfigurations takes the keys that it knows, and ignores the others.
func (h *Harbor) putConfigurations(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if !readBody(w, r, &body) {
		return
	}
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for k, v := range body {
		old, known := h.db.configuration[k]
		if known && fmt.Sprintf("%T", old) != fmt.Sprintf("%T", v) {
			kind := map[string]string{"bool": "bool", "float64": "int64"}[fmt.Sprintf("%T", old)]
			got := map[string]string{"float64": "number"}[fmt.Sprintf("%T", v)]
			if kind == "" {
				kind = "string"
			}
			if got == "" {
				got = fmt.Sprintf("%T", v)
			}
			coreError(w, http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", fmt.Sprintf("validation failure list:\nparsing configurations body from \"\" failed, because json: cannot unmarshal %s into Go struct field Configurations.%s of type %s", got, k, kind))
			return
		}
	}
	modes := []string{"db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth"}
	if mode, ok := body["auth_mode"].(string); ok {
		if !slices.Contains(modes, mode) {
			badRequest(w, "bad request: item name auth_mode: invalid auth_mode, shoud be one of %s", strings.Join(modes, ", "))
			return
		}
		if h.db.otherUsers && mode != h.db.text("auth_mode", "") {
			badRequest(w, "bad request: the auth mode cannot be modified as new users have been inserted into database")
			return
		}
	}
	for k, v := range body {
		if _, known := h.db.configuration[k]; known || slices.Contains(secretConfiguration, k) {
			h.db.configuration[k] = v
		}
	}
}
