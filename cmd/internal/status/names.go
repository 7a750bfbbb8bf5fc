package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
)

const (
	maxNetworks = 24                     // whose answers are looked at
	udpPatience = 400 * time.Millisecond // then the question is asked over TCP: a packet was lost, or the rate is limited
)

func (a *Asker) patience() time.Duration { return cmp.Or(a.Patience, patience) }

// client is a network whose answers are looked at.
type client struct {
	network netip.Prefix // the zero one: a client of whom nothing is known
	home    string
}

// clients are some networks of each datacenter, and a client of whom nothing is known.
func clients(f *fleet.Fleet) (all []client) {
	all = []client{{}}
	for i := 0; ; i++ {
		more := false
		for _, name := range f.Order {
			if networks := f.Datacenters[name].Networks; i < len(networks) {
				more = true
				if all = append(all, client{networks[i].Prefix, name}); len(all) > maxNetworks {
					return all
				}
			}
		}
		if !more {
			return all
		}
	}
}

// nameServers asks all name servers what they answer, as resolvers do.
func (a *Asker) nameServers(ctx context.Context) []NameServer {
	all := []NameServer{}
	if a.Fleet.GSLB == nil {
		return all
	}
	_, port, err := net.SplitHostPort(a.Fleet.GSLB.Listen)
	if err != nil {
		return all
	}
	ctx, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	for _, name := range a.Fleet.Order {
		if len(a.Fleet.Datacenters[name].GSLB) > 0 {
			all = append(all, NameServer{Datacenter: name, Answers: []Answer{}, Reports: []steer.Seen{}})
		}
	}
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() { a.nameServer(ctx, &all[i], port) })
	}
	asking.Wait()
	return all
}

// nameServer asks at all addresses of one beside each other; the first answer counts.
func (a *Asker) nameServer(ctx context.Context, s *NameServer, port string) {
	type found struct {
		address string
		answers []Answer
		err     error
	}
	addresses := a.Fleet.Datacenters[s.Datacenter].GSLB
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan found, len(addresses))
	for _, to := range addresses {
		address := net.JoinHostPort(to.Addr.Unmap().String(), port)
		go func() {
			answers, err := a.answers(ctx, address)
			results <- found{address, answers, err}
		}()
	}
	for range addresses {
		r := <-results
		if r.err == nil {
			s.Address, s.Answers, s.Fault, s.Why = r.address, r.answers, "", ""
			return
		}
		if s.Address != "" {
			s.Address += ", "
		}
		s.Address += r.address
		s.Fault, s.Why = whyNot(ctx, a.patience(), r.err)
	}
}

func whyNot(ctx context.Context, patience time.Duration, err error) (Fault, string) {
	var rcode rcodeError
	if errors.As(err, &rcode) {
		return FaultOther, rcode.Error()
	}
	return why(ctx, patience, err)
}

// answers asks for all clients at once.
func (a *Asker) answers(ctx context.Context, address string) ([]Answer, error) {
	all := clients(a.Fleet)
	answers, errs := make([]Answer, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, c := range all {
		asking.Go(func() {
			answers[i].Home = c.home
			if c.network.IsValid() {
				answers[i].Network = c.network.String()
			}
			var addresses []netip.Addr
			if addresses, errs[i] = a.resolve(ctx, address, c.network); errs[i] == nil {
				answers[i].Datacenter = a.whose(addresses)
			}
		})
	}
	asking.Wait()
	return answers, errors.Join(errs...)
}

// resolve asks for the fleet's name: IPv4 addresses, and IPv6 where there are none.
func (a *Asker) resolve(ctx context.Context, address string, network netip.Prefix) (all []netip.Addr, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(a.Fleet.Domain), kind)
		m.RecursionDesired = false
		m.SetEdns0(1232, false)
		if network.IsValid() {
			family := uint16(1)
			if network.Addr().Is6() {
				family = 2
			}
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(network.Bits()), Address: network.Addr().AsSlice()}}
		}
		answer, err := exchange(ctx, m, address)
		if err != nil {
			return nil, err
		}
		if answer.Rcode != dns.RcodeSuccess {
			return nil, rcodeError(answer.Rcode)
		}
		for _, rr := range answer.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				if ip, ok := netip.AddrFromSlice(rr.A); ok {
					all = append(all, ip.Unmap())
				}
			case *dns.AAAA:
				if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
					all = append(all, ip.Unmap())
				}
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, nil
}

// rcodeError is an answer that is none.
type rcodeError int

func (e rcodeError) Error() string {
	return fmt.Sprintf("it answers %s: it does not serve the name, or its first round of probes is not in", dns.RcodeToString[int(e)])
}

func exchange(ctx context.Context, m *dns.Msg, address string) (*dns.Msg, error) {
	soon, cancel := context.WithTimeout(ctx, udpPatience)
	defer cancel()
	answer, _, err := (&dns.Client{Net: "udp", Timeout: udpPatience}).ExchangeContext(soon, m, address)
	if err == nil && !answer.Truncated {
		return answer, nil
	}
	answer, _, err = (&dns.Client{Net: "tcp", Timeout: patience}).ExchangeContext(ctx, m, address)
	return answer, err
}

// whose is the datacenter that has one of the addresses.
func (a *Asker) whose(addresses []netip.Addr) string {
	for _, name := range a.Fleet.Order {
		for _, own := range a.Fleet.Datacenters[name].Addresses {
			if slices.Contains(addresses, own.Addr.Unmap()) {
				return name
			}
		}
	}
	return ""
}

// reports asks all name servers what they tell operators alone.
func (a *Asker) reports(ctx context.Context) (all []steer.Seen, missing []string) {
	g := a.Fleet.GSLB
	if g == nil {
		return nil, []string{"what DNS answers: the fleet file has no gslb section"}
	}
	if !slices.ContainsFunc(a.Fleet.Order, func(name string) bool { return len(a.Fleet.Datacenters[name].GSLB) > 0 }) {
		return nil, nil // there are no name servers
	}
	keys, err := a.ring(ctx, "gslb", g.Key, g.PreviousKey)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, a.patience())
		defer cancel()
		all, err = steer.Reports(ctx, a.Fleet, keys)
	}
	if err != nil {
		missing = []string{"what name servers tell operators alone: " + err.Error()}
	}
	return all, missing
}

// take has each name server's reports beside its answers. One that answers DNS, and no
// operator, is not looked into.
func (f *Fleet) take(reports []steer.Seen) {
	for i := range f.NameServers {
		s := &f.NameServers[i]
		for _, r := range reports {
			if name, _, _ := strings.Cut(r.Node, " "); name != s.Datacenter {
				continue
			}
			s.Reports = append(s.Reports, r)
			if r.Report == nil && s.Fault == "" && !otherKey(r.Error) {
				f.Missing = append(f.Missing, fmt.Sprintf("what the name server of %s tells operators alone: %s", r.Node, strings.TrimRight(r.Error, ".")))
			}
		}
	}
}

// otherKey reports whether those are the words of a node that has another key.
func otherKey(says string) bool { return strings.Contains(says, "another key") }

// count counts what DNS answers, by the first name server that does.
func (f *Fleet) count() {
	for _, s := range f.NameServers {
		if s.Fault != "" {
			continue
		}
		for i := range f.Datacenters {
			d := &f.Datacenters[i]
			for _, a := range s.Answers {
				if a.Network == "" && len(s.Answers) > 1 { // of whom nothing is known: it is no network
					continue
				}
				d.Named.Of++
				if a.Datacenter == d.Name {
					d.Named.Count++
				}
			}
		}
		return
	}
}
