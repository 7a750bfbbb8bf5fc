package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"example.org/breakwater/registry"
)

// Harbors of other versions than these were not tried: they may lack what provision sets.
const (
	oldestHarbor = "2.10"
	newestMajor  = 2
)

// harborTrial is what the checks of the datacenter's Harbor share: the first finds out
// whether there is one to ask, and the others wait for it.
type harborTrial struct {
	*machine
	once    sync.Once
	found   *results // of reaching it, until a check takes it
	answers bool     // it is a Harbor, and well enough to be asked further
	plain   bool     // it is a registry, and no Harbor
	clockOK bool
	client  *client
}

func (h *harborTrial) address() string { return string(h.own.Harbor) }
func (h *harborTrial) field() string   { return "datacenters." + h.Datacenter + ".harbor" }

// reach finds out once whether there is a Harbor that can be asked.
func (h *harborTrial) reach(ctx context.Context, r *results) bool {
	h.once.Do(func() {
		h.client = newClient(h.machine, nil, h.Fleet.Harbor.CA)
		h.found = &results{check: r.check}
		h.answers = h.ask(ctx, h.found)
	})
	return h.answers
}

// ask asks for Harbor's health, which anybody may.
func (h *harborTrial) ask(ctx context.Context, r *results) bool {
	a, err := h.client.get(ctx, h.address()+"/api/v2.0/health", nil)
	if err != nil {
		noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
		return false
	}
	a.tryClock(r, h.field(), "Harbor's")
	h.clockOK = r.well()
	var health struct {
		Status     string `json:"status"`
		Components []struct{ Name, Status, Error string }
	}
	switch err := json.Unmarshal(a.body, &health); {
	case a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout:
		r.fault("unhealthy", h.field(), fmt.Sprintf("what stands before Harbor at %s answers %d: core is away", h.address(), a.status), "start Harbor; its core's log says why it is away")
		return false
	case a.status >= 300 && a.status < 400:
		r.fault("redirect", h.field(), fmt.Sprintf("%s redirects to %q, and is not followed: credentials go to the fleet file's hosts alone", h.address(), a.header.Get("Location")), "write the address that it redirects to")
		return false
	case a.status == http.StatusBadRequest && strings.HasPrefix(h.address(), "http://") && strings.Contains(string(a.body), "HTTPS"):
		r.fault("scheme", h.field(), h.address()+" speaks TLS", "write https:// in place of http://")
		return false
	case err != nil || health.Status == "" || len(health.Components) == 0:
		return h.askRegistry(ctx, r)
	}
	if sick := slices.DeleteFunc(health.Components, func(c struct{ Name, Status, Error string }) bool { return c.Status == "healthy" }); len(sick) > 0 {
		var names []string
		for _, c := range sick {
			names = append(names, c.Name)
		}
		r.fault("unhealthy", h.field(), "Harbor says that these of its components are not healthy: "+strings.Join(names, ", "), "see their logs; what needs them is not tried here")
		return false
	}
	r.say("%s is a Harbor, all its %d components healthy", h.address(), len(health.Components))
	return h.tryRealm(ctx, r)
}

// askRegistry is for what has no health as Harbor has it.
func (h *harborTrial) askRegistry(ctx context.Context, r *results) bool {
	a, err := h.client.get(ctx, h.address()+"/v2/", nil)
	if err == nil && (a.status == http.StatusOK && a.header.Get("Docker-Distribution-Api-Version") != "" ||
		a.status == http.StatusUnauthorized && len(registry.ParseChallenges(a.header.Values("Www-Authenticate"))) > 0) {
		h.plain = true
		r.say("%s is a registry, and no Harbor: its robot, tokens and administrator are not tried", h.address())
		return false
	}
	r.fault("other", h.field(), h.address()+" is no Harbor: it answers, and has neither Harbor's health nor a registry", "write Harbor's address; a portal of the network, or a load balancer's default page, may answer for it")
	return false
}

// tryRealm wants Harbor to send those who log in to itself: credentials go to its own
// domain alone.
func (h *harborTrial) tryRealm(ctx context.Context, r *results) bool {
	a, err := h.client.get(ctx, h.address()+"/v2/", nil)
	if err != nil {
		noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
		return false
	}
	at := slices.IndexFunc(registry.ParseChallenges(a.header.Values("Www-Authenticate")), func(c registry.Challenge) bool { return strings.EqualFold(c.Scheme, "Bearer") })
	if at < 0 {
		r.fault("other", h.field(), fmt.Sprintf("%s/v2/ answers %d and names no token service: a Harbor does", h.address(), a.status), "write Harbor's own address, not that of something that logs in for it")
		return false
	}
	realm := registry.ParseChallenges(a.header.Values("Www-Authenticate"))[at].Params["realm"]
	u, err := url.Parse(realm)
	own, _ := url.Parse(h.address())
	if err != nil || !registry.SameDomain(u.Hostname(), own.Hostname()) {
		r.fault("realm", h.field(), fmt.Sprintf("Harbor sends those who log in to %q, which is not of its own domain: the edge sends its credentials nowhere else", realm), "set Harbor's external_url, and let what stands before it keep the Host header")
		return false
	}
	return true
}

// try tells of reaching Harbor, of its clock, and with any account that it takes of its
// version and its own name for itself.
func (h *harborTrial) try(ctx context.Context, r *results) {
	reached := h.reach(ctx, r)
	h.found.mu.Lock()
	r.said, r.found = append(r.said, h.found.said...), append(r.found, h.found.found...)
	h.found.mu.Unlock()
	for i := range r.found { // they may have been found for another check
		r.found[i].ID, r.found[i].Check = r.check.id+r.found[i].ID[strings.LastIndex(r.found[i].ID, "."):], r.check.name
	}
	if !reached {
		return
	}
	info, ok := h.systemInfo(ctx)
	if !ok {
		return
	}
	h.tryVersion(r, info.Version)
	if u, err := url.Parse(info.ExternalURL); err == nil && info.ExternalURL != "" && registry.Host(u.Hostname()) != registry.Host(h.Fleet.Domain) {
		r.warn("external-url", h.field(), fmt.Sprintf("Harbor's external_url is %s, and clients use %s: its portal shows commands, and OIDC comes back, under the other name", info.ExternalURL, h.Fleet.Domain), "set external_url to https://"+h.Fleet.Domain+" in harbor.yml (externalURL of its chart)")
	}
}

type systemInfo struct {
	Version     string `json:"harbor_version"`
	ExternalURL string `json:"external_url"`
}

// systemInfo is what Harbor says of itself to those whom it knows.
func (h *harborTrial) systemInfo(ctx context.Context) (info systemInfo, ok bool) {
	for _, account := range []func() (string, string, bool){
		func() (string, string, bool) { return h.robot(ctx) },
		func() (string, string, bool) { return h.administrator(ctx) },
	} {
		username, password, known := account()
		if !known {
			continue
		}
		a, err := h.client.as(username, password).get(ctx, h.address()+"/api/v2.0/systeminfo", nil)
		if err == nil && json.Unmarshal(a.body, &info) == nil && info.Version != "" {
			return info, true
		}
	}
	return info, false
}

func (h *harborTrial) tryVersion(r *results, text string) {
	major, minor, ok := parseVersion(text)
	oldMajor, oldMinor, _ := parseVersion(oldestHarbor)
	switch {
	case !ok:
		r.warn("version", h.field(), fmt.Sprintf("Harbor says that its version is %q", text), "compare it with what the README of provision names")
	case major < oldMajor || major == oldMajor && minor < oldMinor:
		r.fault("version", h.field(), fmt.Sprintf("Harbor is %s, and %s is the oldest that breakwater knows", text, oldestHarbor), "upgrade Harbor")
	case major > newestMajor:
		r.warn("version", h.field(), fmt.Sprintf("Harbor is %s, which nobody has tried with this breakwater", text), "try it in one datacenter first")
	default:
		r.say("version %s", text)
	}
}

// parseVersion reads v2.15.2-080b0220.
func parseVersion(text string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(text, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(strings.SplitN(parts[1], "-", 2)[0])
	return major, minor, err1 == nil && err2 == nil
}

// robot is the edge's account; ok is false where there is none, or its secret cannot be had.
func (h *harborTrial) robot(ctx context.Context) (username, password string, ok bool) {
	if !h.needs(Edge) {
		return "", "", false
	}
	password, ok = h.secret(ctx, h.Fleet.Edge.Robot.Secret)
	return h.Fleet.Harbor.RobotPrefix + h.Fleet.Edge.Robot.Name, password, ok
}

func (h *harborTrial) administrator(ctx context.Context) (username, password string, ok bool) {
	if !h.needs(Provision) {
		return "", "", false
	}
	username, named := h.text(ctx, h.Fleet.Harbor.Username)
	password, ok = h.secret(ctx, h.Fleet.Harbor.Password)
	return username, password, named && ok
}
