package preflight

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net/http"
	"os"

	"example.org/breakwater/registry"
)

// tryAdministrator logs in as provision does.
func (h *harborTrial) tryAdministrator(ctx context.Context, r *results) {
	f := h.Fleet.Harbor
	if f.Username.IsZero() || f.Password.IsZero() {
		r.warn("missing", "harbor.password", "harbor.username and harbor.password are not in the fleet file: provision cannot make what Harbor needs", "write them for the machine that provisions, or leave this out with --for edge,gslb")
		return
	}
	username, password, ok := h.administrator(ctx)
	if !ok || !h.reach(ctx, r) {
		r.cannot(h.why(ok))
		return
	}
	a, err := h.client.as(username, password).get(ctx, h.address()+"/api/v2.0/configurations", nil)
	switch {
	case err != nil:
		noAnswer(ctx, r, h.field(), h.address(), "harbor.ca", err)
	case a.status == http.StatusUnauthorized:
		r.fault("login", "harbor.password", fmt.Sprintf("Harbor refuses %s: the password is another one", username), "write the right one where harbor.password leads to")
	case a.status == http.StatusForbidden:
		r.warn("not-administrator", "harbor.username", fmt.Sprintf("%s is no administrator of Harbor: it makes no projects, and plans only what it may see", username), "name an administrator in harbor.username")
	case a.status != http.StatusOK:
		r.warn("unknown", "harbor.username", fmt.Sprintf("Harbor answers %d to its configuration", a.status), "see the log of Harbor's core")
	default:
		r.say("%s is accepted", username)
	}
}

// tokenKeys are those of harbor.token_certificates; what is wrong with them the check of
// files says.
func (m *machine) tokenKeys() (keys []*rsa.PublicKey, ok bool) {
	for _, ref := range m.Fleet.Harbor.TokenCertificates {
		text, err := os.ReadFile(ref.Path)
		if err != nil {
			return nil, false
		}
		more, err := registry.ParsePublicKeys(text)
		if err != nil {
			return nil, false
		}
		keys = append(keys, more...)
	}
	return keys, true
}
