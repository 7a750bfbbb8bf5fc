package gslb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/miekg/dns"

	"example.org/breakwater/registry"
)

// Admin adds what operators ask of a name server to the admin listener:
//
//	GET    /status                        what is known (Report)
//	GET    /explain?client=PREFIX&name=   what a client is answered, and why (Explanation)
//	POST   /override                      a Steering as JSON: takes effect at once, or not at all (Steered)
//	DELETE /override?datacenter=&name=    takes back what was said (Steered); yes= and dry= are "true" or not there
func (s *Node) Admin(mux *http.ServeMux) {
	s.steering(mux, func(*http.Request) string { return "" }, func(_ context.Context, x Steering) (Steered, error) { return s.Steer(x) })
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		e, err := s.Explain(r.URL.Query().Get("name"), r.URL.Query().Get("client"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		registry.WriteJSON(w, e)
	})
}

// Peers is what the fleet's own may ask and say from elsewhere, behind what knows them: the
// status, to steer, which all does for all name servers of this datacenter, and to exchange
// observations (POST /observation). The header of that name says who asks.
func (s *Node) Peers(asker string, all func(context.Context, Steering) (Steered, error)) http.Handler {
	mux := http.NewServeMux()
	s.steering(mux, func(r *http.Request) string { return r.Header.Get(asker) }, func(ctx context.Context, x Steering) (Steered, error) {
		if x.Alone {
			return s.Steer(x)
		}
		return all(ctx, x)
	})
	mux.HandleFunc("POST /observation", func(w http.ResponseWriter, r *http.Request) {
		var x Observation
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&x); err != nil || x.Node != r.Header.Get(asker) || x.ID == "" {
			http.Error(w, "want an observation as JSON, of who asks", http.StatusBadRequest)
			return
		}
		registry.WriteJSON(w, s.Hear(x))
	})
	return mux
}

// steering adds what is asked from here and from elsewhere. Who asks for somebody is named too.
func (s *Node) steering(mux *http.ServeMux, asker func(*http.Request) string, do func(context.Context, Steering) (Steered, error)) {
	steer := func(w http.ResponseWriter, r *http.Request, x Steering) {
		switch via := asker(r); {
		case x.By == "":
			x.By = via
		case via != "" && via != x.By && via != s.node:
			x.By += " by way of " + via
		}
		done, err := do(r.Context(), x)
		switch {
		case errors.Is(err, ErrNothingSaid):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			registry.WriteJSON(w, done)
		}
	}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { registry.WriteJSON(w, s.Report()) })
	mux.HandleFunc("POST /override", func(w http.ResponseWriter, r *http.Request) {
		var x Steering
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&x); err != nil {
			http.Error(w, "want an override as JSON", http.StatusBadRequest)
			return
		}
		steer(w, r, x)
	})
	mux.HandleFunc("DELETE /override", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		steer(w, r, Steering{Override: Override{Datacenter: q.Get("datacenter"), Name: q.Get("name"), By: q.Get("by")}, Release: true, Yes: q.Get("yes") == "true", Dry: q.Get("dry") == "true"})
	})
}

var errNotAnswering = errors.New("nothing is answered yet: the first round of probes is not in")

// Explain says what a client is answered, and why. name "" is the fleet's first; client
// is an address or a prefix.
func (s *Node) Explain(name, client string) (Explanation, error) {
	v := s.view.Load()
	if v == nil {
		return Explanation{}, errNotAnswering
	}
	if name == "" {
		name = v.fleet.Zones[0].Names[0].Name
	}
	prefix, err := netip.ParsePrefix(client)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(client); err == nil {
			prefix = netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
	}
	if err != nil {
		return Explanation{}, fmt.Errorf("%q is no client: want an address or a network", client)
	}
	return v.explainFor(dns.CanonicalName(name), prefix.Masked())
}
