package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/miekg/dns"
)

// parent is the zone above the fleet's name, which delegates it to the name servers of all
// datacenters: what a resolver asks first, and checks of the delegation begin with.
type parent struct {
	server  *dns.Server
	address string
	glue    map[string]string // the name server's address, by its datacenter
}

// startParent answers on the place's own address, with glue for the name servers that
// stand in the fleet file.
func startParent(port int, glue map[string]string) (*parent, error) {
	at := 0
	if port != 0 {
		at = port + dnsOffset
	}
	socket, err := net.ListenPacket("udp", net.JoinHostPort(hubHost, strconv.Itoa(at)))
	if err != nil {
		return nil, fmt.Errorf("listen for the parent zone: %w", err)
	}
	p := &parent{address: socket.LocalAddr().String(), glue: glue}
	p.server = &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(p.refer)}
	go p.server.ActivateAndServe() //nolint:errcheck // ends with close
	return p, nil
}

func (p *parent) close() {
	if p != nil {
		p.server.PacketConn.Close() //nolint:errcheck // it has nothing left to say
	}
}

// refer is a parent's answer to whatever is asked below the fleet's name.
func (p *parent) refer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	zone := dns.Fqdn(domain)
	if len(q.Question) != 1 || !dns.IsSubDomain(zone, dns.CanonicalName(q.Question[0].Name)) {
		m.Rcode = dns.RcodeRefused
	}
	for datacenter, address := range p.glue {
		if m.Rcode != dns.RcodeSuccess {
			break
		}
		host := "ns-" + datacenter + "." + zone
		header := func(name string, kind uint16) dns.RR_Header {
			return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 3600}
		}
		m.Ns = append(m.Ns, &dns.NS{Hdr: header(zone, dns.TypeNS), Ns: host})
		m.Extra = append(m.Extra, &dns.A{Hdr: header(host, dns.TypeA), A: net.ParseIP(address)})
	}
	w.WriteMsg(m) //nolint:errcheck // who asked is gone
}
