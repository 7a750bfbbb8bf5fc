package preflight

import (
	"context"

	"example.org/breakwater/cmd/internal/login"
)

// tryConsole asks the provider at which the console's users log in. Nothing else needs it.
func (m *machine) tryConsole(ctx context.Context, r *results) {
	o := m.Fleet.Harbor.OIDC
	if err := (login.OIDC{Issuer: string(o.Endpoint)}).Discover(ctx); err != nil {
		r.warn("provider", "harbor.oidc.endpoint", "nobody can log in at the console by "+o.Name+": "+oneLine(err), "write the issuer as the provider writes it itself, and let this machine reach it")
		return
	}
	r.say("%s answers", o.Name)
}
