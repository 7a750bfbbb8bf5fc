package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
)

// echoCommand is the bare name server that any of its library is measured against.
func echoCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "echo", Short: "A bare name server, in a process of its own", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serveEcho(cmd.Context(), listen) },
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address and port")
	return cmd
}

// serveEcho answers everybody with the first site, and with the subnet that was
// asked for: no lookup, no health, no cookies, no metrics. A socket for each
// processor, as the others have it.
func serveEcho(ctx context.Context, listen string) error {
	h := newEcho()
	failed := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		s := &dns.Server{Addr: listen, Net: "udp", ReusePort: true, Handler: h, UDPSize: 1232}
		go func() { failed <- s.ListenAndServe() }()
		defer s.Shutdown() //nolint:errcheck // the process ends
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("echo: %w", err)
	}
}

// echo has its records made.
type echo struct {
	four, six, soa dns.RR
}

func newEcho() *echo {
	first := sites()[0]
	h := dns.RR_Header{Name: geoZone + ".", Class: dns.ClassINET, Ttl: 30}
	typed := func(t uint16) dns.RR_Header {
		h.Rrtype = t
		return h
	}
	return &echo{
		four: &dns.A{Hdr: typed(dns.TypeA), A: first.Four.AsSlice()},
		six:  &dns.AAAA{Hdr: typed(dns.TypeAAAA), AAAA: first.Six.AsSlice()},
		soa: &dns.SOA{Hdr: typed(dns.TypeSOA), Ns: "ns-par1." + geoZone + ".", Mbox: "hostmaster." + geoZone + ".",
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 604800, Minttl: 30},
	}
}

// ServeDNS implements dns.Handler.
func (e *echo) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	switch asked := q.Question[0]; {
	case asked.Name != e.soa.Header().Name:
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{e.soa}
	case asked.Qtype == dns.TypeA:
		m.Answer = []dns.RR{e.four}
	case asked.Qtype == dns.TypeAAAA:
		m.Answer = []dns.RR{e.six}
	default:
		m.Ns = []dns.RR{e.soa}
	}
	if o := q.IsEdns0(); o != nil {
		reply := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: o.Option}
		reply.SetUDPSize(1232)
		for _, option := range reply.Option {
			if s, ok := option.(*dns.EDNS0_SUBNET); ok {
				s.SourceScope = s.SourceNetmask
			}
		}
		m.Extra = []dns.RR{reply}
	}
	w.WriteMsg(m) //nolint:errcheck // who asked is gone
}
