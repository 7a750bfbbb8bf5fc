package gslb

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Report is what a node knows and answers now.
type Report struct {
	Node        string                      `json:"node"`
	Answering   bool                        `json:"answering"` // false: the first round of probes is not in
	Datacenters map[string]DatacenterHealth `json:"datacenters"`
	Overrides   []Override                  `json:"overrides"`
	LastGood    map[string][]string         `json:"last_good"`
	Serial      map[string]uint32           `json:"serial"` // by zone
}

// Overruled is the answer to an override.
type Overruled struct {
	Override
	SafeAt time.Time `json:"safe_at"` // a drained datacenter may stop then: nobody keeps an answer that names it any longer
}

// Peers is what the fleet's own may ask and say from elsewhere, behind what knows them: the
// status, for now. Who asks is in the header of that name.
func (s *Node) Peers(_ string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Report()) })
	return mux
}

// Admin adds what operators ask of a name server to the admin listener:
//
//	GET    /status                        what is known (Report)
//	GET    /explain?client=PREFIX&name=   what a client is answered, and why (Explanation)
//	POST   /override                      an Override as JSON: takes effect at once (Overruled)
//	DELETE /override?datacenter=&name=    takes it back
func (s *Node) Admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Report()) })
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		e, err := s.Explain(r.URL.Query().Get("name"), r.URL.Query().Get("client"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, e)
	})
	mux.HandleFunc("POST /override", func(w http.ResponseWriter, r *http.Request) {
		var o Override
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&o); err != nil {
			http.Error(w, "want an override as JSON", http.StatusBadRequest)
			return
		}
		done, err := s.Override(o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, done)
	})
	mux.HandleFunc("DELETE /override", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if err := s.Release(q.Get("datacenter"), q.Get("name")); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		writeJSON(w, s.Report())
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the operator is gone
}

// Report is what is known and answered now.
func (s *Node) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Node: s.node, Answering: s.view.Load() != nil, Datacenters: map[string]DatacenterHealth{}, LastGood: map[string][]string{}, Serial: map[string]uint32{}}
	if s.health != nil {
		r.Datacenters = s.health.snapshot()
	}
	r.Overrides, _ = living(s.state.Overrides, time.Now())
	for name, good := range s.state.LastGood {
		r.LastGood[name] = good
	}
	if v := s.view.Load(); v != nil {
		for _, z := range v.zones {
			r.Serial[z.Origin] = z.soa.Serial
		}
	}
	return r
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

// Override puts what an operator says of a datacenter before what the probes say.
func (s *Node) Override(o Override) (Overruled, error) {
	now := time.Now()
	if o.Name != "" {
		o.Name = dns.CanonicalName(o.Name)
	}
	o.Since = now
	s.mu.Lock()
	if err := o.check(s.fleet, now); err != nil {
		s.mu.Unlock()
		return Overruled{}, err
	}
	next := with(s.state.Overrides, o)
	if len(next) > maxOverrides {
		s.mu.Unlock()
		return Overruled{}, fmt.Errorf("there are %d overrides already: take some back", maxOverrides)
	}
	s.state.Overrides = next
	longest := time.Duration(0)
	for _, z := range s.fleet.Zones {
		for _, n := range z.Names {
			if o.Name == "" || o.Name == n.Name {
				longest = max(longest, n.TTL)
			}
		}
	}
	s.mu.Unlock()
	s.log.Info("override", "datacenter", o.Datacenter, "name", o.Name, "mode", string(o.Mode), "until", o.Until, "reason", o.Reason)
	s.refresh()
	s.write()
	return Overruled{o, now.Add(longest)}, nil
}

// Release takes an override back.
func (s *Node) Release(datacenter, name string) error {
	if name != "" {
		name = dns.CanonicalName(name)
	}
	s.mu.Lock()
	next := without(s.state.Overrides, datacenter, name)
	if len(next) == len(s.state.Overrides) {
		s.mu.Unlock()
		return fmt.Errorf("nothing was said of datacenter %q%s", datacenter, strings.TrimSuffix(" for "+name, " for "))
	}
	s.state.Overrides = next
	s.mu.Unlock()
	s.log.Info("override taken back", "datacenter", datacenter, "name", name)
	s.refresh()
	s.write()
	return nil
}
