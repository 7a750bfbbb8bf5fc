// Package steer asks the fleet's name servers, each by itself and all at once: for what
// they know and answer, and to steer clients. Questions and answers are signed.
package steer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
)

// patience is how long one name server may take.
const patience = 2 * time.Second

// Seen is one name server as whoever asked sees it.
type Seen struct {
	Node   string       `json:"node"`            // its datacenter
	Report *gslb.Report `json:"report"`          // nil: there is none
	Error  string       `json:"error,omitempty"` // why, in a sentence
}

// Reports asks all name servers of the fleet, at most 2 s, with the ring of gslb.key. They
// come in the order of the fleet file. The error is for a fleet that cannot be asked at all.
func Reports(ctx context.Context, f *fleet.Fleet, ring *keyring.Ring) ([]Seen, error) {
	all, err := New(f, ring, "", nil)
	if err != nil {
		return nil, err
	}
	return all.Reports(ctx), nil
}

// New returns all name servers of the fleet, as the node self asks them, or as the operator
// does where there is none. The error says why they cannot be asked.
func New(f *fleet.Fleet, ring *keyring.Ring, self string, local Local) (*Fleet, error) {
	nodes, err := Nodes(f)
	if err != nil {
		return nil, err
	}
	if ring == nil {
		return nil, errNoKey
	}
	if self == "" {
		return &Fleet{Nodes: nodes, Ring: ring, From: Operator()}, nil
	}
	switch own := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == self }); {
	case own < 0:
		nodes = append(nodes, Node{Name: self})
	case own+1 < len(nodes) && nodes[own+1].Name == self:
		local = nil // several have its name: which of them it is, it does not know
	}
	return &Fleet{Nodes: nodes, Ring: ring, From: self, Self: self, Local: local}, nil
}

var errNoKey = errors.New("the fleet file has no gslb.key, with which name servers know who asks: write one, the same for all")

// Node is where one name server takes signed questions.
type Node struct {
	Name      string // its datacenter
	Label     string // which of its datacenter's; "": there is one
	Addresses []string
}

func (n Node) String() string { return strings.TrimSpace(n.Name + " " + n.Label) }

// Nodes are the fleet's, in the order of the fleet file: of each datacenter that has
// addresses in gslb, on the port of gslb.peers. Two addresses of one family are two name
// servers; the first of IPv4 and the first of IPv6 are one.
func Nodes(f *fleet.Fleet) (all []Node, err error) {
	if f.GSLB == nil {
		return nil, errors.New("the fleet file has no gslb section")
	}
	if *f.GSLB.Peers == "" {
		return nil, errors.New("gslb.peers is off in the fleet file, so name servers cannot be asked from elsewhere")
	}
	_, port, err := net.SplitHostPort(*f.GSLB.Peers)
	if err != nil {
		return nil, fmt.Errorf("gslb.peers: %w", err)
	}
	for _, name := range f.Order {
		var own []Node
		seen := map[bool]int{} // by family
		for _, a := range f.Datacenters[name].GSLB {
			at, four := a.Addr.Unmap(), a.Addr.Unmap().Is4()
			i := seen[four]
			if seen[four]++; i == len(own) {
				own = append(own, Node{Name: name, Label: at.String()})
			}
			own[i].Addresses = append(own[i].Addresses, net.JoinHostPort(at.String(), port))
		}
		if len(own) == 1 {
			own[0].Label = ""
		}
		all = append(all, own...)
	}
	if len(all) == 0 {
		return nil, errors.New("no datacenter of the fleet file has a name server: write their addresses in datacenters.<name>.gslb")
	}
	return all, nil
}

// Operator is who runs this program, as user@host.
func Operator() string {
	name, host := "somebody", "somewhere"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// Fleet is all name servers, for one who asks them.
type Fleet struct {
	Nodes []Node
	Ring  *keyring.Ring
	From  string // who asks
	Self  string // the node that asks; "": none
	Local Local  // that is it, and is not asked over the net; nil: it is
}

// Local is the name server that asks, with those beside it in its datacenter.
type Local interface {
	Report() gslb.Report
	SteerAll(context.Context, gslb.Steering) (gslb.Steered, error)
}

// Reports asks all nodes at once.
func (f *Fleet) Reports(ctx context.Context) []Seen {
	return each(f, func(n Node) (s Seen) {
		s.Node, s.Report = n.String(), new(gslb.Report)
		if f.Local != nil && n.Name == f.Self {
			*s.Report = f.Local.Report()
		} else if err := f.ask(ctx, n, http.MethodGet, "/status", nil, s.Report); err != nil {
			s.Report, s.Error = nil, err.Error()
		}
		return s
	})
}

// Exchange tells all other nodes an observation, and has what they answer heard (gslb.Exchange).
func (f *Fleet) Exchange(ctx context.Context, own gslb.Observation, hear func(gslb.Observation)) {
	each(f, func(n Node) (_ struct{}) {
		if f.Local != nil && n.Name == f.Self {
			return
		}
		var x gslb.Observation
		if f.ask(ctx, n, http.MethodPost, "/observation", own, &x) == nil && x.Node == n.Name && x.ID != "" {
			hear(x)
		}
		return
	})
}

// each asks all nodes beside each other.
func each[T any](f *Fleet, ask func(Node) T) []T {
	type answer struct {
		at int
		is T
	}
	answers := make(chan answer, len(f.Nodes))
	for i, n := range f.Nodes {
		go func() { answers <- answer{i, ask(n)} }()
	}
	all := make([]T, len(f.Nodes))
	for range f.Nodes {
		a := <-answers
		all[a.at] = a.is
	}
	return all
}

// ask asks one node, and reads its answer into the value.
func (f *Fleet) ask(ctx context.Context, n Node, method, path string, question, into any) error {
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// One connection, to the first address that takes it; nothing between is asked for it.
	transport := &http.Transport{DialContext: n.dial, DisableKeepAlives: true}
	client := signed.Client{Ring: f.Ring, From: f.From, HTTP: &http.Client{Transport: transport}}
	answer, err := client.Ask(ctx, n.Name, method, "http://"+n.Addresses[0]+path, body)
	var dial *unreached
	var refused *signed.Refused
	switch {
	case errors.As(err, &dial):
		return dial
	case errors.As(err, &refused):
		return refused
	case ctx.Err() != nil:
		return fmt.Errorf("it took the question and gave no answer within %v", patience)
	case err != nil:
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("its answer cannot be read; does it run another version? %w", err)
	}
	return nil
}

// unreached is a node that takes no connection.
type unreached struct{ why error }

func (e *unreached) Error() string { return "it cannot be reached: " + e.why.Error() }

func (n Node) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var all []error
	for i, address := range n.Addresses {
		left := patience
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		// Each of those that are left has its share of the time.
		conn, err := (&net.Dialer{Timeout: left / time.Duration(len(n.Addresses)-i)}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		all = append(all, err)
	}
	return nil, &unreached{errors.Join(all...)}
}
