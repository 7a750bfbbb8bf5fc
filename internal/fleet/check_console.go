package fleet

import "slices"

// checkConsole checks the console's own listener, which nobody is to reach without a login,
// nor with one that others can read.
func (f *Fleet) checkConsole(d *decoder) {
	c := &f.Edge.Console
	const at = "edge.console"
	if c.Listen == "" {
		if _, written := d.lines[at]; written {
			d.report(at+".listen", "it is missing; write a port of its own, as :9443, or leave edge.console out")
		}
		return
	}
	switch {
	case (c.TLS.Certificate == "") != (c.TLS.Key == ""):
		d.report(at+".tls", "it needs both certificate and key")
	case c.TLS.Certificate == "" && !onLoopback(c.Listen):
		d.report(at+".tls", "logins would pass in the clear on %s; write tls.certificate and tls.key, or listen on 127.0.0.1", c.Listen)
	}
	if c.Users == "" && len(c.Groups) == 0 {
		d.report(at, "nobody could log in; write groups of the provider of harbor.oidc, or users, a htpasswd file")
	}
	if c.ClientID.IsZero() != c.ClientSecret.IsZero() {
		d.report(at, "client_id and client_secret are of one client; write both, or neither for Harbor's")
	}
	if slices.Contains(c.Groups, "") {
		d.report(at+".groups", "a group has no name; write the names of those that may log in")
	}
	if len(c.Groups) == 0 {
		return
	}
	if o := f.Harbor.OIDC; o == nil {
		d.report(at+".groups", "there is no provider whose groups they are; write harbor.oidc")
	} else if o.GroupsClaim == "" {
		d.report(at+".groups", "no claim says who is in them; write harbor.oidc.groups_claim")
	}
}
