package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Hash tells fleet files apart, by eight hexadecimal digits, in what all nodes of a fleet
// must agree on. Where a node itself listens and keeps its files may differ, and so may the
// ways to the edges: there can be another one from each place.
func (f *Fleet) Hash() string {
	shared := *f
	shared.Notes = nil // they have line numbers
	shared.Datacenters = map[string]*Datacenter{}
	for name, dc := range f.Datacenters {
		same := *dc
		same.Edge = ""
		shared.Datacenters[name] = &same
	}
	e := &shared.Edge
	e.Listen, e.PlainHTTP, e.Metrics, e.Admin, e.TLS.Certificate, e.TLS.Key, e.Store.Path, e.Store.Size = "", false, "", "", "", "", "", 0
	e.Console, e.Changes = Console{}, ""
	if f.GSLB != nil {
		g := *f.GSLB
		g.Listen, g.Metrics, g.Admin, g.Peers, g.State = "", "", "", nil, ""
		shared.GSLB = &g
	}
	text, err := json.Marshal(shared)
	if err != nil { // nothing in it cannot be written
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}
