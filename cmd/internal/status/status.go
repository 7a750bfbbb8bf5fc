// Package status asks all nodes of a fleet how they are, each by itself and all at once,
// and says what is wrong. It works while parts are down: a node that does not answer within
// a second is one that says why.
package status

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/operator"
)

// patience is how long one node may take, unless who asks says otherwise, and how long the secrets may.
const patience = time.Second

// Fleet is how a fleet is, as one place sees it.
type Fleet struct {
	Domain      string       `json:"domain"`
	Time        time.Time    `json:"time"`
	File        string       `json:"file"`    // the hash of the fleet file that was read here
	Verdict     Severity     `json:"verdict"` // the worst of the findings; well: there are notes at most
	Findings    []Finding    `json:"findings"`
	Datacenters []Datacenter `json:"datacenters"`
	NameServers []NameServer `json:"name_servers"`
	Missing     []string     `json:"missing"` // what could not be looked at, and why
}

// Datacenter is one of the fleet's.
type Datacenter struct {
	Name  string   `json:"name"`
	Role  string   `json:"role"`
	Named Networks `json:"named"` // how many of the networks that were asked for are answered with it
	Edges []Edge   `json:"edges"`
}

// Networks are so many of so many.
type Networks struct {
	Count int `json:"count"`
	Of    int `json:"of"`
}

// Edge is an instance of an edge, or an address where none answers.
type Edge struct {
	Addresses []string         `json:"addresses"`
	Report    *operator.Report `json:"report"` // nil: there is none
	Health    *proxy.Health    `json:"health"` // what anybody is told; asked for where there is no report
	Ahead     float64          `json:"ahead"`  // seconds that its clock is ahead of this one's
	Fault     Fault            `json:"fault"`  // of the question for a report; "": none
	Why       string           `json:"why,omitempty"`
}

// NameServer is the name server of a datacenter.
type NameServer struct {
	Datacenter string   `json:"datacenter"`
	Address    string   `json:"address"` // that answered, or all
	Answers    []Answer `json:"answers"`
	Fault      Fault    `json:"fault"`
	Why        string   `json:"why,omitempty"`
	// Reports are what it says to who has gslb.key: several where several are behind its
	// address.
	Reports []steer.Seen `json:"reports"`
}

// Answer is what clients of a network are answered with.
type Answer struct {
	Network    string `json:"network"`    // "": a client of whom nothing is known
	Home       string `json:"home"`       // the datacenter that the fleet file says it is at home in
	Datacenter string `json:"datacenter"` // "": none of the fleet's
}

// Fault is why there is no answer.
type Fault string

// The faults.
const (
	FaultRefused     Fault = "refused"     // no connection
	FaultSilent      Fault = "silent"      // no answer in time
	FaultName        Fault = "name"        // its host has no address
	FaultCertificate Fault = "certificate" // it shows one that is not good
	FaultKey         Fault = "key"         // it has another one
	FaultClock       Fault = "clock"       // it differs too much
	FaultNoKey       Fault = "no key"      // of ours: only what is public was asked for
	FaultOther       Fault = "other"
)

// Asker asks the nodes of one fleet.
type Asker struct {
	Fleet *fleet.Fleet
	From  string // who asks: user@host
	Base  string // of the runbooks' URLs
	// Resolver finds the addresses of the edges' names; nil: as the system does.
	Resolver *net.Resolver
	// Patience is how long one node may take; 0: a second.
	Patience time.Duration
	// Keyring finds the keys of a section of the fleet file; nil: Keys, each time.
	Keyring func(ctx context.Context, f *fleet.Fleet, section string, key, previous fleet.Ref) (*keyring.Ring, error)
}

func (a *Asker) ring(ctx context.Context, section string, key, previous fleet.Ref) (*keyring.Ring, error) {
	if a.Keyring != nil {
		return a.Keyring(ctx, a.Fleet, section, key, previous)
	}
	return Keys(ctx, a.Fleet, section, key, previous)
}

// Ask asks all nodes, and says what is wrong.
func (a *Asker) Ask(ctx context.Context) *Fleet {
	f := &Fleet{Domain: a.Fleet.Domain, Time: time.Now().UTC(), File: a.Fleet.Hash(), Missing: []string{}, NameServers: []NameServer{}}
	var all sync.WaitGroup
	all.Go(func() { f.NameServers = a.nameServers(ctx) })
	var missing, untold []string
	var reports []steer.Seen
	all.Go(func() { f.Datacenters, missing = a.datacenters(ctx) })
	all.Go(func() { reports, untold = a.reports(ctx) })
	all.Wait()
	f.Missing = append(append(f.Missing, missing...), untold...)
	f.take(reports)
	f.count()
	f.judge(a.Fleet, a.Base)
	return f
}

// datacenters asks the edges of all.
func (a *Asker) datacenters(ctx context.Context) (all []Datacenter, missing []string) {
	keys, missing := a.keys(ctx)
	trust, err := Trust(a.Fleet)
	if err != nil {
		missing = append(missing, "whether edges' certificates are good: "+err.Error())
	}
	all = make([]Datacenter, len(a.Fleet.Order))
	var asking sync.WaitGroup
	for i, name := range a.Fleet.Order {
		dc := a.Fleet.Datacenters[name]
		all[i] = Datacenter{Name: name, Role: dc.Role, Edges: []Edge{}}
		if dc.Edge == "" {
			missing = append(missing, fmt.Sprintf("the edge of %s: the fleet file has no datacenters.%s.edge", name, name))
			continue
		}
		way := Way{Datacenter: name, URL: string(dc.Edge), Keys: keys, Trust: trust, From: a.From, Resolver: a.Resolver, Patience: a.Patience}
		asking.Go(func() { all[i].Edges = way.Edges(ctx) })
	}
	asking.Wait()
	return all, missing
}

// keys are those of edge.peers; without them only what is public is asked for.
func (a *Asker) keys(ctx context.Context) (*keyring.Ring, []string) {
	keys, err := a.ring(ctx, "edge.peers", a.Fleet.Edge.Peers.Key, a.Fleet.Edge.Peers.PreviousKey)
	if err != nil {
		return nil, []string{"what edges tell operators alone: " + err.Error()}
	}
	return keys, nil
}

// Keys are those by which nodes know operators, of a section of the fleet file. They are
// waited for a second.
func Keys(ctx context.Context, f *fleet.Fleet, section string, key, previous fleet.Ref) (*keyring.Ring, error) {
	type found struct {
		keys *keyring.Ring
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := make(chan found, 1)
	go func() {
		secrets, err := secret.New(f)
		if err != nil {
			answer <- found{nil, err}
			return
		}
		keys, err := secrets.Keys(ctx, section, key, previous)
		if err == nil && keys == nil {
			err = fmt.Errorf("the fleet file has no %s.key, by which nodes know who asks", section)
		}
		answer <- found{keys, err}
	}()
	select {
	case a := <-answer:
		return a.keys, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s.key was not to be had within %v", section, patience)
	}
}

// Trust is what the edges' certificates are verified by; nil: the system's authorities.
func Trust(f *fleet.Fleet) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, file := range []string{f.Harbor.CA, f.Edge.Peers.CA} {
		if file == "" {
			continue
		}
		if config.RootCAs == nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			config.RootCAs = pool
		}
		pem, err := os.ReadFile(file)
		if err != nil {
			return config, err
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return config, fmt.Errorf("%s holds no PEM certificate", file)
		}
	}
	return config, nil
}
