package hello

import (
	"encoding/json"
	"net/http"

	"example.org/breakwater/proxy/peer"
)

// Answer answers a peer that asks how the two stand (GET peer.HelloPath). To whom it does not
// know it says why, the time, and which datacenter's edge it is: its health says that too.
func (n *Neighbors) Answer(w http.ResponseWriter, r *http.Request) error {
	h := peer.Hello{Datacenter: n.cfg.Datacenter, Time: n.cfg.Now().UTC()}
	trust := n.Trust()
	_, refusal := trust.Judge(r)
	status := http.StatusOK
	if refusal != nil {
		status, h.Refused, h.Why = http.StatusForbidden, refusal.Kind, refusal.Says
	} else {
		h.Version, h.Keys, h.Sees = n.cfg.Version, trust.Key.IDs(), map[string]string{}
		for _, v := range n.Views() {
			h.Sees[v.Datacenter] = string(v.State)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(h)
}
