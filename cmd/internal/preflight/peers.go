package preflight

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"

	"example.org/breakwater/proxy/peer"
)

// healthPath is where an edge says how it is, to everybody.
const healthPath = "/breakwater/v1/health"

// edgeHealth is what of that is read here.
type edgeHealth struct {
	Datacenter string `json:"datacenter"`
	Serving    bool   `json:"serving"`
	Draining   bool   `json:"draining"`
}

// tryPeer asks another datacenter's edge how it is, and then as its peer.
func (m *machine) tryPeer(ctx context.Context, r *results, name string) {
	f, field := m.Fleet, "datacenters."+name+".edge"
	address := string(f.Datacenters[name].Edge)
	c := newClient(m, m.shown(), f.Harbor.CA, f.Edge.Peers.CA)
	a, err := c.get(ctx, address+healthPath, nil)
	if err != nil {
		noAnswer(ctx, r, field, address, "harbor.ca or edge.peers.ca", err)
		return
	}
	var health edgeHealth
	if err := json.Unmarshal(a.body, &health); err != nil || health.Datacenter == "" {
		r.fault("other", field, fmt.Sprintf("%s is no edge: it answers %d to %s, and not as one", address, a.status, healthPath), "write the address of the edge of "+name+"; what stands before it must pass /breakwater/ on")
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
	a, err := c.get(ctx, address+peer.Path+"/v2/", nil)
	switch {
	case err != nil:
		noAnswer(ctx, r, "datacenters."+name+".edge", address, "harbor.ca or edge.peers.ca", err)
	case a.status == http.StatusOK:
		r.say("it knows this datacenter's edge")
	default:
		r.fault("stranger", field, fmt.Sprintf("the edge of %s does not know this datacenter's (%d): what %s leads to is another one there", name, a.status, field), "give all edges the same, and start them again")
	}
}
