package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	apiJSON  = "application/json"
	coreJSON = "application/json; charset=utf-8"
)

// apiRoute adds a handler for a pattern of net/http's.
type apiRoute func(pattern string, serve http.HandlerFunc)

// serveAPI is the management API.
func (h *Harbor) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/version" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, `{"version":"v2.0"}`+"\n") //nolint:errcheck // the client is gone
		return
	}
	mux := http.NewServeMux()
	open := func(pattern string, serve http.HandlerFunc) { mux.HandleFunc(pattern, serve) }
	admin := func(pattern string, serve http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			switch who := h.caller(r); {
			case who.admin:
				serve(w, r)
			case who.name == "" || who.token:
				coreError(w, http.StatusUnauthorized, "UNAUTHORIZED", "unauthorized")
			default:
				coreError(w, http.StatusForbidden, "FORBIDDEN", "forbidden")
			}
		})
	}
	open("GET /api/v2.0/health", h.serveHealth)
	open("GET /api/v2.0/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "Pong") //nolint:errcheck // the client is gone
	})
	open("GET /api/v2.0/systeminfo", h.serveSystemInfo)
	admin("GET /api/v2.0/users/current", h.serveCurrentUser)
	open("GET /api/v2.0/projects", h.listProjects)
	h.routeProjects(admin)
	h.routeRetentions(admin)
	h.routeRobots(admin)
	h.routeRegistries(admin)
	h.routePolicies(admin)
	h.routeConfigurations(admin)
	h.routeMembers(admin)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		open("/", func(w http.ResponseWriter, r *http.Request) {
			coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("path %s was not found", r.URL.Path))
		})
	} else {
		open("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<!doctype html><html><head><title>Harbor</title></head><body>The portal of a stand-in.</body></html>\n") //nolint:errcheck // the client is gone
		})
	}
	mux.ServeHTTP(w, r)
}

func readBody(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(v); err != nil {
		coreError(w, http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", "parsing body body from \"\" failed, because "+err.Error())
		return false
	}
	return true
}

func created(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// healthLag is how far Harbor's health is behind the truth.
const healthLag = 10 * time.Second

// serveHealth is 200 whatever it says.
func (h *Harbor) serveHealth(w http.ResponseWriter, r *http.Request) {
	type component struct {
		Error  string `json:"error,omitempty"`
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	const redisGone = "dial tcp 127.0.0.1:56379: connect: connection refused"
	down := func(fault string) bool { return h.faults.lasting(r, fault, healthLag) }
	all := []component{}
	status := "healthy"
	for _, name := range []string{"core", "database", "jobservice", "portal", "redis", "registry", "registryctl"} {
		c := component{Name: name, Status: "healthy"}
		switch {
		case name == "database" && down("db-down"):
			c.Error = "failed to run SQL \"SELECT 1\": " + databaseGone
		case name == "redis" && down("redis-down"):
			c.Error = redisGone
		case name == "jobservice" && down("redis-down"):
			c.Error = `received unexpected status code: 500 {"code":10004,"message":"check stats of server failed with error","details":"` + redisGone + `"}`
		case name == "registry" && down("registry-down"):
			c.Error = "dial tcp 127.0.0.1:5000: connect: connection refused"
		}
		if c.Error != "" {
			c.Status, status = "unhealthy", "unhealthy"
		}
		all = append(all, c)
	}
	writeJSON(w, http.StatusOK, apiJSON, map[string]any{"components": all, "status": status})
}

func (h *Harbor) serveSystemInfo(w http.ResponseWriter, r *http.Request) {
	info := map[string]any{"auth_mode": "db_auth", "banner_message": "", "oidc_provider_name": "", "primary_auth_mode": false, "self_registration": false}
	if who := h.caller(r); who.admin {
		more := map[string]any{
			"current_time": stamp(time.Now()), "external_url": h.cfg.Scheme + "://" + r.Host, "harbor_version": "v2.15.2-080b0220",
			"has_ca_root": false, "notification_enable": true, "project_creation_restriction": "everyone", "read_only": false,
			"registry_storage_provider_name": "filesystem", "registry_url": r.Host,
		}
		for k, v := range more {
			info[k] = v
		}
	}
	writeJSON(w, http.StatusOK, apiJSON, info)
}

func (h *Harbor) serveCurrentUser(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, apiJSON, map[string]any{"admin_role_in_auth": false, "comment": "admin user", "realname": "system admin",
		"sysadmin_flag": true, "user_id": 1, "username": "admin", "creation_time": stamp(time.Now()), "update_time": stamp(time.Now())})
}
