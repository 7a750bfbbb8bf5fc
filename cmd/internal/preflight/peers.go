package preflight

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// tryPeer asks another datacenter's edge how it is, and then as its peer.
func (m *machine) tryPeer(ctx context.Context, r *results, name string) {
	f, field := m.Fleet, "datacenters."+name+".edge"
	address := string(f.Datacenters[name].Edge)
	c := newClient(m, m.shown(), f.Harbor.CA, f.Edge.Peers.CA)
	a, err := c.get(ctx, address+proxy.HealthPath, nil)
	if err != nil {
		noAnswer(ctx, r, field, address, "harbor.ca or edge.peers.ca", err)
		return
	}
	var health proxy.Health
	if err := json.Unmarshal(a.body, &health); err != nil || health.Datacenter == "" {
		r.fault("other", field, fmt.Sprintf("%s is no edge: it answers %d to %s, and not as one", address, a.status, proxy.HealthPath), "write the address of the edge of "+name+"; what stands before it must pass /breakwater/ on")
		return
	}
	if health.Datacenter != name {
		r.fault("other", field, fmt.Sprintf("%s is the edge of %s", address, health.Datacenter), "write the address of the edge of "+name)
		return
	}
	a.tryClock(r, field, "the "+name+" edge's")
	if health.Draining {
		r.warn("draining", field, "the edge of "+name+" is leaving: clients are sent elsewhere", "breakwater edge release there, when it should serve again")
	}
	m.tryKey(ctx, r, c, name, address)
	r.say("%s answers", address)
	if r.well() && f.GSLB != nil {
		m.tryAddresses(ctx, r, name)
	}
}

// tryAddresses asks a datacenter's edge where DNS sends clients, by the one name: at the port
// of its own address, or at that of HTTPS where something stands before it.
func (m *machine) tryAddresses(ctx context.Context, r *results, name string) {
	field := "datacenters." + name + ".addresses"
	own, err := url.Parse(string(m.Fleet.Datacenters[name].Edge))
	if err != nil {
		return
	}
	wheres := []*url.URL{own}
	if own.Scheme != "https" || own.Port() != "" {
		wheres = append(wheres, &url.URL{Scheme: "https", Host: own.Hostname()})
	}
	for _, a := range m.Fleet.Datacenters[name].Addresses {
		var err error
		for _, where := range wheres {
			if err = m.askAddress(ctx, name, where, a.Addr); err == nil {
				break
			}
		}
		if err != nil {
			r.warn("address", field, fmt.Sprintf("DNS sends clients to %s, where from here the edge of %s is not: %s", a, name, oneLine(err)), "write the address that clients reach it at, and let it pass; where they alone reach it, leave this out with --skip peer.address")
		}
	}
}

func (m *machine) askAddress(ctx context.Context, name string, where *url.URL, address netip.Addr) error {
	port := registry.PortOf(where)
	c := newClient(m, nil, m.Fleet.Harbor.CA, m.Fleet.Edge.Peers.CA)
	transport := c.http.Transport.(*http.Transport)
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address.String(), port))
	}
	a, err := c.get(ctx, where.Scheme+"://"+net.JoinHostPort(m.Fleet.Domain, port)+proxy.HealthPath, nil)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return err
	}
	var health proxy.Health
	switch err := json.Unmarshal(a.body, &health); {
	case err != nil || health.Datacenter == "":
		return fmt.Errorf("something else answers %d there", a.status)
	case health.Datacenter != name:
		return fmt.Errorf("the edge of %s answers", health.Datacenter)
	}
	return nil
}

// shown is the certificate that edges know each other by; nil where they do not.
func (m *machine) shown() *tls.Certificate {
	if m.Fleet.Edge.Peers.CA == "" {
		return nil
	}
	return m.ownCertificate()
}

// tryKey asks as a peer does.
func (m *machine) tryKey(ctx context.Context, r *results, c *client, name, address string) {
	field, keys := "edge.peers.key", m.peersKeys(ctx)
	if keys == nil {
		field = "edge.peers.ca"
	}
	if keys == nil && m.shown() == nil {
		return // they do not know each other, or another check has said why not
	}
	c.show = peer.NewKey(keys, m.Datacenter, m.Now).Shows(name)
	a, err := c.get(ctx, address+peer.HelloPath, nil)
	if err == nil && a.status == http.StatusNotFound { // an older program
		a, err = c.get(ctx, address+peer.Path+"/v2/", nil)
	}
	if err != nil {
		noAnswer(ctx, r, "datacenters."+name+".edge", address, "harbor.ca or edge.peers.ca", err)
		return
	}
	var said peer.Hello
	if json.Unmarshal(a.body, &said) != nil {
		said = peer.Hello{}
	}
	switch {
	case said.Refused == peer.RefusedClock:
		return // by its Date it was found already
	case said.Refused == peer.RefusedCertificate:
		r.fault("refuses-certificate", "edge.tls", fmt.Sprintf("the edge of %s does not believe this edge's certificate: %s", name, oneLine(errors.New(said.Why))), "have it issued by the authority of edge.peers.ca there, for clients too and for the host of this edge's address")
		return
	case said.Refused == peer.RefusedDatacenter:
		r.fault("stranger", "datacenters", fmt.Sprintf("the edge of %s does not take this one for that of %s: %s", name, m.Datacenter, oneLine(errors.New(said.Why))), "compare the two fleet files, and --datacenter")
		return
	case a.status != http.StatusOK:
		r.fault("stranger", field, fmt.Sprintf("the edge of %s does not know this datacenter's (%d): what %s leads to is another one there", name, a.status, field), "give all edges the same; previous_key lets the one before count meanwhile")
		return
	}
	r.say("it knows this datacenter's edge")
	m.tryView(ctx, r, name, said)
}

// released are the versions that can be compared: what is built of a tree between two is not.
var released = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+$`)

// tryView compares what a peer says with what is here: its version, and how it sees this
// datacenter's edge, where that runs.
func (m *machine) tryView(ctx context.Context, r *results, name string, said peer.Hello) {
	field := "datacenters." + name + ".edge"
	if own := daemon.Version(); said.Version != own && released.MatchString(said.Version) && released.MatchString(own) {
		r.warn("version", field, fmt.Sprintf("the edge of %s is of version %s, and this program of %s", name, said.Version, own), "bring all edges to one version, one datacenter after the other")
	}
	seen := hello.State(said.Sees[m.Datacenter])
	if slices.Contains([]hello.State{"", hello.OK, hello.Unknown, hello.Older}, seen) || heldByEdge(ctx, m, daemon.OnThisMachine(m.Fleet.Edge.Listen)) != nil {
		return
	}
	r.warn("sees", field, fmt.Sprintf("the edge of %s sees this datacenter's so: %s", name, oneLine(errors.New(string(seen)))), "see its log, and whether datacenters."+m.Datacenter+".edge can be reached from there")
}
