package main

import (
	"fmt"
	"net"
	"strings"

	"example.org/breakwater/internal/lab"
)

// links are the ways between datacenters, each of which a relay stands for: one to the other's
// edge, one to the other's Harbor, by who uses them and who is at their end.
type links map[[2]int][]*lab.Relay

// add makes a link from one datacenter to an address in another, and returns where it begins.
func (l *links) add(from, to int, target string) (address string, err error) {
	listener, err := listen(fmt.Sprintf("link from %s to %s", places[from].name, places[to].name), places[to].host, 0, 0, to)
	if err != nil {
		return "", err
	}
	relay, err := lab.StartRelay(listener, target)
	if err != nil {
		return "", err
	}
	if *l == nil {
		*l = links{}
	}
	way := [2]int{from, to}
	(*l)[way] = append((*l)[way], relay)
	return relay.Address(), nil
}

func (l links) close() {
	for _, relays := range l {
		for _, r := range relays {
			r.Close() //nolint:errcheck // its listener is closed in any case
		}
	}
}

// linkHarbors links one Harbor to the others, and says where these are for it.
func (l *running) linkHarbors(i int, listeners []net.Listener) (registries map[string]string, err error) {
	registries = map[string]string{}
	for j, other := range listeners {
		if j == i {
			continue
		}
		address, err := l.links.add(i, j, other.Addr().String())
		if err != nil {
			return nil, err
		}
		registries["http://"+other.Addr().String()] = "http://" + address
	}
	return registries, nil
}

// linkEdges links every datacenter to the others' edges.
func (l *running) linkEdges() error {
	for i := range places {
		l.places[i].links = map[int]string{}
		for j := range places {
			if j == i {
				continue
			}
			address, err := l.links.add(i, j, l.places[j].public)
			if err != nil {
				return err
			}
			l.places[i].links[j] = address
		}
	}
	return nil
}

// overLinks is a fleet file in which the datacenter's links are the others' edges.
func (l *running) overLinks(i int, text string) string {
	edge := func(address string) string { return fmt.Sprintf("edge: %q", "http://"+address) }
	var pairs []string
	for j, link := range l.places[i].links {
		pairs = append(pairs, edge(l.places[j].public), edge(link))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
