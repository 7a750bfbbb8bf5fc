package console

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"example.org/breakwater/gslb"
)

// ClientPage says which datacenter a client is answered with (breakwater gslb explain). ask
// asks the name server of this datacenter.
// Its parameters are client, an address or a network, and name; "" is the first.
func ClientPage(ask func(ctx context.Context, client, name string) (gslb.Explanation, error)) Page {
	return Page{
		Path: "client", Title: "Which datacenter a client gets", Template: "client.html", Query: []string{"client", "name"},
		Icon:  "M12 21s7-6.1 7-11.5A7 7 0 0 0 5 9.5C5 14.9 12 21 12 21zM12 12a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
		About: "What the name server of this datacenter answers a client with, and why each of the others is not the answer.",
		Data: func(ctx context.Context, r *http.Request) (any, error) {
			client, name := strings.TrimSpace(r.URL.Query().Get("client")), strings.TrimSpace(r.URL.Query().Get("name"))
			if client == "" {
				return nil, nil
			}
			_, wrong := netip.ParseAddr(client)
			if _, err := netip.ParsePrefix(client); wrong != nil && err != nil {
				return nil, Input("%.60q is no client: want an address or a network, as 203.0.113.7 or 10.1.0.0/16", client)
			}
			if len(name) > 253 { // RFC 1035, section 2.3.4
				return nil, Input("that is no name: 253 bytes are the most")
			}
			e, err := ask(ctx, client, name)
			if err != nil {
				return nil, fmt.Errorf("the name server of this datacenter: %w", err)
			}
			return e, nil
		},
	}
}

// others are the sentences that are of no candidate.
func others(e gslb.Explanation) []string {
	return slices.DeleteFunc(slices.Clone(e.Sentences), func(s string) bool {
		return slices.ContainsFunc(e.Candidates, func(c gslb.Candidate) bool { return c.Sentence() == s })
	})
}
