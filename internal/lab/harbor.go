package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// HarborConfig says what a stand-in Harbor is.
type HarborConfig struct {
	Listener      net.Listener    // nil: a free port of 127.0.0.1
	Dir           string          // where content is kept; "" is a temporary directory, removed by Close
	Key           *rsa.PrivateKey // signs tokens; nil: one of its own, as Harbors have unless they are told to share
	AdminPassword string          // of "admin"; "" is Harbor12345
	Scheme        string          // of the external URL, which the token realm carries; "" is http, AsAsked that of each request
	ExternalHost  string          // of the external URL; "": the host that is asked
	NginxPort     string          // that its nginx believes to listen on, and names in its redirects; "" is 8080, as in its container

	// Registries says where registries really are, by the address that Harbor is told:
	// "https://hub.docker.com" may be "http://127.0.0.1:5000". The others are where they say.
	Registries map[string]string
	// ReplicationDelay is the time from a push to the execution of the event-based
	// policies; 0: the 5 s that were recorded. StatusLag is the time from the end of an
	// execution's tasks to its saying so; 0: 3 s, where up to 20 were seen.
	ReplicationDelay, StatusLag time.Duration
	// Workers is how many replications run at once; the others wait, in no order. 0: any number.
	Workers int
	// Replicating is called before each step of a replication, and returns when that may be
	// taken; nil: at once. An error fails the execution, or the task whose step it is: nothing
	// tries it again. Busy is one of a Harbor that has much to do.
	Replicating func(ctx context.Context, step ReplicationStep) error

	// Delivering is called before each attempt at a webhook, and returns when that may be made;
	// nil: at once. An error makes the attempt fail, as a receiver that is away does.
	// BusyDelivery is one of a Harbor that has much to do.
	Delivering   func(ctx context.Context, d WebhookDelivery) error
	WebhookRetry time.Duration // between a webhook's three attempts; 0: 30 s, where 16 to 101 were seen

	// PullLag is the time from a pull to the API's and retention's knowing of it; 0: none, where
	// up to 10 s were seen.
	PullLag time.Duration

	// Cost is how long an API call takes; nil: no longer than it does. RecordedCost is
	// what was measured.
	Cost func(r *http.Request) time.Duration

	Now func() time.Time // for sessions, schedules and what expires; nil: time.Now
}

// Harbor is a stand-in for one Harbor: core, registry and the nginx before them.
type Harbor struct {
	server
	cfg      HarborConfig
	db       *database
	registry http.Handler
	api      http.Handler
	jobs     *jobs
	down     atomic.Bool   // stopped
	workers  chan struct{} // holds a token for each replication that runs; nil: any number may
	started  time.Time
	ownDir   bool
}

// StartHarbor starts a stand-in that holds nothing but the project "library",
// as a fresh Harbor does.
func StartHarbor(cfg HarborConfig) (*Harbor, error) {
	h := &Harbor{cfg: cfg}
	if h.cfg.AdminPassword == "" {
		h.cfg.AdminPassword = "Harbor12345"
	}
	if h.cfg.Scheme == "" {
		h.cfg.Scheme = "http"
	}
	var err error
	if h.cfg.Key == nil {
		if h.cfg.Key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, err
		}
	}
	if h.cfg.Dir == "" {
		h.ownDir = true
		if h.cfg.Dir, err = os.MkdirTemp("", "breakwater-harbor-"); err != nil {
			return nil, err
		}
	}
	if h.cfg.Now == nil {
		h.cfg.Now = time.Now
	}
	h.db = &database{adminPassword: h.cfg.AdminPassword, now: h.cfg.Now, tables: newTables()}
	h.registry = newDistribution(h.cfg.Dir)
	h.api = h.newAPI()
	h.started, h.jobs = h.cfg.Now(), newJobs()
	if h.cfg.Workers > 0 {
		h.workers = make(chan struct{}, h.cfg.Workers)
	}
	h.cfg.ReplicationDelay = cmp.Or(h.cfg.ReplicationDelay, 5*time.Second)
	h.cfg.WebhookRetry = cmp.Or(h.cfg.WebhookRetry, 30*time.Second)
	h.cfg.StatusLag = cmp.Or(h.cfg.StatusLag, 3*time.Second)
	h.CreateProject("library", true)
	if err := h.start(cfg.Listener, http.HandlerFunc(h.serveNginx)); err != nil {
		h.removeDir()
		return nil, err
	}
	return h, nil
}

// Close stops the stand-in and removes what it kept in a directory of its own.
func (h *Harbor) Close() error {
	err := h.server.Close()
	h.jobs.close()
	h.removeDir()
	return err
}

func (h *Harbor) removeDir() {
	if h.ownDir {
		os.RemoveAll(h.cfg.Dir) //nolint:errcheck // a temporary directory
	}
}

// serveNginx is Harbor's own front: what it answers itself when core is away.
func (h *Harbor) serveNginx(w http.ResponseWriter, r *http.Request) {
	if slices.Contains([]string{"/v2", "/c", "/api", "/service"}, r.URL.Path) { // it knows nothing of what leads to it
		own := url.URL{Scheme: "http", Host: net.JoinHostPort((&url.URL{Host: r.Host}).Hostname(), cmp.Or(h.cfg.NginxPort, "8080")), Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Location", own.String())
		htmlPage(w, "301 Moved Permanently", http.StatusMovedPermanently)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		htmlPage(w, "404 Not Found", http.StatusNotFound)
		return
	}
	if h.faults.component(r, "core-down") {
		htmlPage(w, "502 Bad Gateway", http.StatusBadGateway)
		return
	}
	w.Header().Set("X-Request-Id", requestID())
	if !checkCSRF(w, r) {
		return
	}
	if h.readOnly(r) {
		coreError(w, http.StatusForbidden, "DENIED", "The system is in read only mode. Any modification is prohibited.")
		return
	}
	s := h.session(w, r)
	r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, s))
	switch path := r.URL.Path; {
	case path == "/service/token":
		h.serveToken(w, r)
	case strings.HasPrefix(path, "/v2/"):
		h.serveV2(w, r)
	case path == "/api/version":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, `{"version":"v2.0"}`+"\n") //nolint:errcheck // the client is gone
	case strings.HasPrefix(path, "/api/"):
		if h.cfg.Cost != nil && !pause(r.Context(), h.cfg.Cost(r)) {
			return
		}
		h.api.ServeHTTP(w, r)
	case path == "/c/login" && r.Method == http.MethodPost:
		h.serveLogin(w, r)
	case path == "/c/log_out":
		h.serveLogout(w, r)
	case path == "/c/oidc/login":
		coreError(w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
	case strings.HasPrefix(path, "/c/"):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "<!DOCTYPE HTML>\n<html><head><title>404 - Page Not Found</title></head></html>\n") //nolint:errcheck // the client is gone
	default:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><html><head><title>Harbor</title></head><body>The portal of a stand-in.</body></html>\n") //nolint:errcheck // the client is gone
	}
}

// readOnly reports whether the request would change something while Harbor is
// read-only: nothing can be changed then but the configuration.
func (h *Harbor) readOnly(r *http.Request) bool {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	return h.db.config["read_only"] == true && r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions &&
		r.URL.Path != "/api/v2.0/configurations" && r.URL.Path != "/c/login"
}

type sessionKey struct{}

func requestID() string {
	s := randomHex(16)
	return fmt.Sprintf("%s-%s-%s-%s-%s", s[:8], s[8:12], s[12:16], s[16:20], s[20:])
}

func htmlPage(w http.ResponseWriter, title string, status int) {
	page := fmt.Sprintf("<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", title)
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	fmt.Fprint(w, page)
}

// writeJSON writes v as encoding/json does, a newline behind it, with its length.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client is gone
}

// coreError writes an error as core does.
func coreError(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, status, coreJSON, map[string][]entry{"errors": {{code, message}}})
}

// Admin returns the administrator's name and password.
func (h *Harbor) Admin() (username, password string) { return "admin", h.cfg.AdminPassword }

// Key is the key that signs this Harbor's tokens.
func (h *Harbor) Key() *rsa.PrivateKey { return h.cfg.Key }

// RecordedCost is how long Harbor takes for an API call: a user's password costs
// a hash each time, robots and sessions do not.
func RecordedCost(r *http.Request) time.Duration {
	if user, _, ok := r.BasicAuth(); ok && !strings.Contains(user, "$") {
		return 130 * time.Millisecond
	}
	return 5 * time.Millisecond
}
