package gslb

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// tree is a small DNS on loopback: every server has an address of its own, and all
// the same port. Zone text by server; what is delegated is referred.
type tree struct {
	port  int
	roots []netip.AddrPort
}

// serve runs a server at the address, over UDP and, unless told otherwise, TCP.
func (tr *tree) serve(t *testing.T, ip, origin, zone string, tcp bool) {
	t.Helper()
	var records []dns.RR
	for p := dns.NewZoneParser(strings.NewReader(zone), origin, ""); ; {
		rr, ok := p.Next()
		if !ok {
			if err := p.Err(); err != nil {
				t.Fatal(err)
			}
			break
		}
		records = append(records, rr)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		var cut string
		for _, rr := range records {
			if owner := rr.Header().Name; rr.Header().Rrtype == dns.TypeNS && owner != origin && dns.IsSubDomain(owner, name) && (q.Question[0].Qtype != dns.TypeDS || owner != name) {
				cut = owner
			}
		}
		m.Authoritative = cut == ""
		for _, rr := range records {
			switch h := rr.Header(); {
			case cut != "" && h.Rrtype == dns.TypeNS && h.Name == cut:
				m.Ns = append(m.Ns, rr)
			case cut != "" && (h.Rrtype == dns.TypeA || h.Rrtype == dns.TypeAAAA):
				m.Extra = append(m.Extra, rr)
			case cut == "" && h.Name == name && (h.Rrtype == q.Question[0].Qtype || q.IsEdns0().Do() && proves(rr, q.Question[0].Qtype)):
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m) //nolint:errcheck // a client that is gone
	})
	pc, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", ip, tr.port))
	if err != nil {
		t.Fatal(err)
	}
	servers := []*dns.Server{{PacketConn: pc, Handler: handler}}
	tr.port = pc.LocalAddr().(*net.UDPAddr).Port
	if tcp {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, tr.port))
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, &dns.Server{Listener: l, Handler: handler})
	}
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe() //nolint:errcheck // it ends with the test
		<-started
		t.Cleanup(func() { s.Shutdown() }) //nolint:errcheck // see above
	}
	if origin == "." {
		tr.roots = append(tr.roots, netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(tr.port)))
	}
}

func proves(rr dns.RR, qtype uint16) bool {
	r, ok := rr.(*dns.RRSIG)
	return ok && r.TypeCovered == qtype
}

// servers are what those of a chain have.
type servers struct {
	parent, par1, mad1 string
	noTCP              bool
	silent             bool   // mad1 does not run
	second             string // what another server of the parent zone has; "": there is none
}

func TestCheckDelegation(t *testing.T) {
	const (
		root  = "example. 3600 NS ns.example.\nns.example. 3600 A 127.0.51.2\n"
		ns    = "ns-par1.h.example. 3600 A 127.0.51.3\nns-mad1.h.example. 3600 A 127.0.51.4\n"
		cut   = "h.example. 3600 NS ns-par1.h.example.\nh.example. 3600 NS ns-mad1.h.example.\n"
		apex  = "example. 3600 SOA ns.example. h.example. 1 1 1 1 1\n"
		ds    = "h.example. 3600 DS 12345 13 2 2EA9165CD8CA0E7F4DB87E3D134240AAD7214EC467E41CC7407207C1647B32E6\n"
		gone  = "gone"
		soa   = "h.example. 3600 SOA ns-par1.h.example. h.example. 7 1 1 1 1\n"
		child = soa + cut + ns
	)
	for says, c := range map[string]struct {
		servers
		want []string
	}{
		"all is well":                       {servers{parent: apex + cut + ns, par1: child, mad1: child}, nil},
		"not delegated":                     {servers{parent: apex, par1: child, mad1: child}, []string{"not-delegated"}},
		"missing glue":                      {servers{parent: apex + cut + "ns-par1.h.example. 3600 A 127.0.51.3\n", par1: child, mad1: child}, []string{"missing-glue"}},
		"wrong glue":                        {servers{parent: apex + cut + ns + "ns-mad1.h.example. 3600 A 127.0.51.3\n", par1: child, mad1: child}, []string{"wrong-glue"}},
		"lame":                              {servers{parent: apex + cut + ns, par1: child, mad1: ""}, []string{"lame"}},
		"down":                              {servers{parent: apex + cut + ns, par1: child, silent: true}, []string{"no-tcp", "unreachable"}},
		"the parent's NS":                   {servers{parent: apex + strings.ReplaceAll(cut, "ns-mad1", "ns-drp1") + ns + "ns-drp1.h.example. 3600 A 127.0.51.4\n", par1: child, mad1: child}, []string{"wrong-ns"}},
		"one alone":                         {servers{parent: apex + "h.example. 3600 NS ns-par1.h.example.\n" + ns, par1: child, mad1: child}, []string{"too-few", "wrong-ns"}},
		"a server's NS":                     {servers{parent: apex + cut + ns, par1: child, mad1: soa + "h.example. 3600 NS ns-mad1.h.example.\n" + ns}, []string{"wrong-ns"}},
		"unequal serials":                   {servers{parent: apex + cut + ns, par1: child, mad1: strings.Replace(child, " 7 ", " 8 ", 1)}, []string{"serials"}},
		"no TCP":                            {servers{parent: apex + cut + ns, par1: child, mad1: child, noTCP: true}, []string{"no-tcp"}},
		"a parent TTL of days":              {servers{parent: apex + strings.ReplaceAll(cut, "3600", "172800") + ns, par1: child, mad1: child}, []string{"parent-ttl", "parent-ttl"}},
		"two of the parent's":               {servers{parent: apex + cut + ns, par1: child, mad1: child, second: apex + cut + ns}, nil},
		"the parent's faults are said once": {servers{parent: apex + cut + "ns-par1.h.example. 3600 A 127.0.51.3\n", par1: child, mad1: child, second: apex + cut + "ns-par1.h.example. 3600 A 127.0.51.3\n"}, []string{"missing-glue"}},
		"a DS that stayed":                  {servers{parent: apex + cut + ns + ds, par1: child, mad1: child}, []string{"stale-ds"}},
		"a DS at a secondary":               {servers{parent: apex + cut + ns, par1: child, mad1: child, second: apex + cut + ns + ds}, []string{"stale-ds"}},
		"an old secondary":                  {servers{parent: apex + cut + ns, par1: child, mad1: child, second: apex + "h.example. 3600 CNAME old.example.\n"}, []string{"not-delegated"}},
		"an old primary":                    {servers{parent: apex + "h.example. 3600 CNAME old.example.\n", par1: child, mad1: child, second: apex + cut + ns}, []string{"not-delegated"}},
		"a secondary's NS":                  {servers{parent: apex + cut + ns, par1: child, mad1: child, second: apex + strings.ReplaceAll(cut, "ns-mad1", "ns-drp1") + ns + "ns-drp1.h.example. 3600 A 127.0.51.4\n"}, []string{"wrong-ns"}},
		"a secondary is gone":               {servers{parent: apex + cut + ns, par1: child, mad1: child, second: gone}, []string{"parent-silent"}},
	} {
		t.Run(says, func(t *testing.T) {
			tr := &tree{}
			above := root
			if c.second != "" {
				above += "example. 3600 NS ns2.example.\nns2.example. 3600 A 127.0.51.5\n"
			}
			tr.serve(t, "127.0.51.1", ".", above, true)
			tr.serve(t, "127.0.51.2", "example.", c.parent, true)
			if c.second != "" && c.second != gone {
				tr.serve(t, "127.0.51.5", "example.", c.second, true)
			}
			tr.serve(t, "127.0.51.3", "h.example.", c.par1, true)
			if !c.silent {
				tr.serve(t, "127.0.51.4", "h.example.", c.mad1, !c.noTCP)
			}
			d := Delegation{Zone: "h.example", Port: tr.port, Roots: tr.roots, Servers: map[string][]netip.Addr{
				"ns-par1.h.example.": {netip.MustParseAddr("127.0.51.3")}, "ns-mad1.h.example.": {netip.MustParseAddr("127.0.51.4")}}}
			found, err := d.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				got = append(got, f.Kind)
				t.Logf("%s: %s: %s", f.Kind, f.Where, f.Message)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestCheckDelegationOfADeadRootSaysSo(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.51.9:0") // a port that is surely free now
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(pc.LocalAddr().String())
	pc.Close()
	_, err = Delegation{Zone: "h.example", Roots: []netip.AddrPort{at}}.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the servers of the root") {
		t.Error(err)
	}
}
