package wire

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"example.org/breakwater/cmd/internal/login"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
)

// door is what the fleet file says of the console's own listener.
type door struct {
	login.Config
	certificate *daemon.Certificate // nil: plain HTTP, on loopback
}

// newDoor reads it; nil: the console is on the admin listener alone.
func newDoor(ctx context.Context, cfg EdgeConfig, secrets *secret.Store, f *fleet.Fleet) (*door, error) {
	c := &f.Edge.Console
	if c.Listen == "" {
		return nil, nil
	}
	d := &door{Config: login.Config{Domain: f.Domain, Users: c.Users, TLS: c.TLS.Certificate != "", Log: cfg.Log}}
	var err error
	if d.TLS {
		if d.certificate, err = daemon.LoadCertificate(c.TLS.Certificate, c.TLS.Key, cfg.Log); err != nil {
			return nil, fmt.Errorf("edge.console.tls: %w", err)
		}
	}
	if len(c.Groups) > 0 {
		if d.OIDC, err = loginProvider(ctx, secrets, f); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// loginProvider is where the console's users log in, with its secret.
func loginProvider(ctx context.Context, secrets *secret.Store, f *fleet.Fleet) (*login.OIDC, error) {
	c, o := &f.Edge.Console, f.Harbor.OIDC
	id, err := secrets.Get(ctx, c.ClientID.Ref)
	if err != nil {
		return nil, fmt.Errorf("edge.console.client_id: %w", err)
	}
	password, err := secrets.Get(ctx, c.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("edge.console.client_secret: %w", err)
	}
	scopes := strings.FieldsFunc(o.Scope, func(r rune) bool { return r == ',' || r == ' ' })
	return &login.OIDC{Name: o.Name, Issuer: string(o.Endpoint), ClientID: cmp.Or(c.ClientID.Value, id), ClientSecret: password, Scopes: scopes,
		UserClaim: o.UserClaim, GroupsClaim: o.GroupsClaim, Groups: c.Groups}, nil
}

// server is the listener, before which is the door.
func (d *door) server(pages http.Handler) (s daemon.Server, guard *login.Guard, err error) {
	if guard, err = login.New(d.Config, pages); err != nil {
		return s, nil, fmt.Errorf("edge.console: %w", err)
	}
	s = daemon.Server{Name: "console", Handler: daemon.Named(daemon.Edge, guard), Public: true}
	if d.certificate != nil {
		s.TLS = d.certificate.Config()
	}
	return s, guard, nil
}

// take has what the file says now be in force, or changes nothing.
func (e *Edge) takeDoor(next *door) error {
	if e.guard == nil {
		return nil
	}
	if next == nil { // the listener goes with a restart; nobody is let in from now on
		return e.guard.Use(login.Config{})
	}
	if err := e.guard.Use(next.Config); err != nil {
		return fmt.Errorf("edge.console: %w", err)
	}
	if e.began.door.certificate != nil && next.certificate != nil {
		e.began.door.certificate.Use(next.certificate)
	}
	return nil
}
