package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/registry"
)

// tryRobot logs in as the edge's robot, and compares what it may do with what it must.
func (h *harborTrial) tryRobot(ctx context.Context, r *results) {
	name, password, ok := h.robot(ctx)
	if !ok || !h.reach(ctx, r) {
		r.cannot(h.why(ok))
		return
	}
	as := h.client.as(name, password)
	a, err := as.get(ctx, h.tokenService(), url.Values{"service": {registry.HarborService}})
	switch {
	case err != nil:
		noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
		return
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		r.fault("login", "edge.robot.secret", fmt.Sprintf("Harbor refuses %s: the secret is another one, or the robot is disabled, ended or not there", name),
			"breakwater provision apply makes it, and breakwater provision rotate gives it the secret that edge.robot.secret leads to; a prefix other than "+h.Fleet.Harbor.RobotPrefix+" goes into harbor.robot_prefix")
		return
	case a.status != http.StatusOK:
		r.fault("login", "edge.robot.secret", fmt.Sprintf("Harbor's token service answers %d to %s", a.status, name), "see the log of Harbor's core")
		return
	}
	var lacks []string
	for _, need := range h.robotNeeds() {
		if missing, err := need.missing(ctx, h, as); err != nil {
			noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
			return
		} else if missing != "" {
			lacks = append(lacks, missing+" "+need.project)
		}
	}
	if len(lacks) > 0 {
		r.fault("permissions", "edge.robot", fmt.Sprintf("%s may not %s, or there is no such project yet", name, strings.Join(lacks, ", nor ")), "breakwater provision apply makes the projects, and gives the robot what it needs")
		return
	}
	r.say("%s is accepted, and may do what it must", name)
}

// why is what a check waits for that is not to be had.
func (h *harborTrial) why(secret bool) string {
	switch {
	case !secret:
		return "its secret is not to be had"
	case h.plain:
		return "this is no Harbor"
	}
	return "Harbor cannot be asked"
}

func (h *harborTrial) tokenService() string { return h.address() + "/service/token" }

// robotNeed is what the edge's robot must be able to do in a project.
type robotNeed struct {
	project string
	actions []string
}

const maxProjects = 40 // whose permissions are asked for

func (h *harborTrial) robotNeeds() (all []robotNeed) {
	p := h.Fleet.Projects
	for _, name := range sorted(p.MultiDC.Items) {
		all = append(all, robotNeed{h.Fleet.Project(naming.MultiDC, name), []string{"pull", "push"}})
	}
	for _, name := range sorted(p.Cache.Items) {
		all = append(all, robotNeed{h.Fleet.Project(naming.Cache, name), []string{"pull"}})
	}
	for _, name := range sorted(p.Repl.Items) {
		all = append(all, robotNeed{h.Fleet.Project(naming.Repl, name), []string{"pull"}})
	}
	return all[:min(len(all), maxProjects)]
}

// missing asks for a token and returns what it does not grant, as "push into".
func (n robotNeed) missing(ctx context.Context, h *harborTrial, as *client) (string, error) {
	scope := "repository:" + n.project + "/doctor:" + strings.Join(n.actions, ",")
	raw, _, err := h.token(ctx, as, scope)
	if err != nil {
		return "", err
	}
	granted := grantsOf(raw)
	switch {
	case !slices.Contains(granted, "pull") && !slices.Contains(granted, "*"):
		return "pull from", nil
	case slices.Contains(n.actions, "push") && !slices.Contains(granted, "push") && !slices.Contains(granted, "*"):
		return "push into", nil
	}
	return "", nil
}

// token is one of Harbor's; "" where it gives none.
func (h *harborTrial) token(ctx context.Context, as *client, scope string) (raw string, status int, err error) {
	a, err := as.get(ctx, h.tokenService(), url.Values{"service": {registry.HarborService}, "scope": {scope}})
	if err != nil {
		return "", 0, err
	}
	var body struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(a.body, &body) != nil {
		return "", a.status, nil
	}
	return body.Token, a.status, nil
}

// grantsOf are the actions that a token grants. It was given to us by who made it, so
// nobody need have signed it.
func grantsOf(raw string) (actions []string) {
	var claims struct {
		jwt.RegisteredClaims
		Access []registry.Access `json:"access"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err != nil {
		return nil
	}
	for _, a := range claims.Access {
		actions = append(actions, a.Actions...)
	}
	return actions
}

// tryTokens asks Harbor for a token, as anybody may, and verifies it as edges do.
func (h *harborTrial) tryTokens(ctx context.Context, r *results) {
	keys, ok := h.tokenKeys()
	if !ok || !h.reach(ctx, r) {
		r.cannot(h.why(true))
		return
	}
	raw, status, err := h.token(ctx, h.client, "repository:library/doctor:pull")
	if err != nil {
		noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
		return
	}
	if raw == "" {
		r.fault("none", h.field(), fmt.Sprintf("Harbor's token service gives no token (%d)", status), "see the log of Harbor's core, and what stands between: /service/token must lead to it")
		return
	}
	var claims jwt.RegisteredClaims
	at := h.Now()
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err == nil && claims.IssuedAt != nil {
		at = claims.IssuedAt.Time.Add(time.Second) // a clock that is wrong is found elsewhere
	}
	verifier := registry.Verifier{Keys: keys, Now: func() time.Time { return at }}
	if _, err := verifier.Verify(raw); err != nil {
		r.fault("other-key", "harbor.token_certificates", "harbor.token_certificates does not have what this Harbor signs its tokens with: "+oneLine(err),
			"put the certificate of each Harbor's token service there (core's tls.crt; core.secretName of its chart), or give all Harbors one key")
		return
	}
	r.say("its tokens verify")
}
