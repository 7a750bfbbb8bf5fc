package parent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const timeout = 5 * time.Second

// Server is the primary server of the parent zone, which takes updates.
type Server struct {
	Address string // host:port
	Parent  string // the parent zone; "": it is asked for
	Key     Key
}

// Plan is what is to be changed in the parent for one zone.
type Plan struct {
	Zone    string   `json:"zone"`
	Parent  string   `json:"parent"`
	Remove  []string `json:"remove"` // records, as zone files have them
	Add     []string `json:"add"`
	Notes   []string `json:"notes"` // what is left as it is, a sentence each
	message *dns.Msg
}

// Empty reports whether the parent says all of it already.
func (p Plan) Empty() bool { return len(p.Remove)+len(p.Add) == 0 }

// Plan asks the parent what it says of the zone, and says what is to be changed.
func (s Server) Plan(ctx context.Context, z Zone) (Plan, error) {
	if len(z.Servers) == 0 {
		return Plan{}, fmt.Errorf("%s has no name servers: write datacenters.<name>.gslb", z.Origin)
	}
	p := Plan{Zone: dns.CanonicalName(z.Origin), Parent: dns.CanonicalName(s.Parent), Remove: []string{}, Add: []string{}, Notes: []string{}}
	var err error
	if s.Parent == "" {
		if p.Parent, err = s.parentOf(ctx, p.Zone); err != nil {
			return p, err
		}
	}
	if !dns.IsSubDomain(p.Parent, p.Zone) || p.Parent == p.Zone {
		return p, fmt.Errorf("%s is not below %s, and cannot be delegated from there", p.Zone, p.Parent)
	}
	has, err := s.says(ctx, p.Zone)
	if err != nil {
		return p, err
	}
	p.compare(has, z)
	return p, nil
}

// compare finds what differs. Whole sets are changed, also those of which no referral says
// whether they are there: the addresses of who is no name server yet.
func (p *Plan) compare(has []set, z Zone) {
	p.message = new(dns.Msg)
	p.message.SetUpdate(p.Parent)
	want := z.sets()
	find := func(all []set, s set) (found set) {
		if i := slices.IndexFunc(all, s.same); i >= 0 {
			found = all[i]
		}
		return found
	}
	for _, old := range has {
		is := find(want, old)
		switch {
		case old.rrtype == dns.TypeDS && z.DS == nil:
			p.Notes = append(p.Notes, fmt.Sprintf("The parent has a DS record for %s and keeps it: where answers are not signed by that key, resolvers that validate give SERVFAIL; take it out of the parent then", strings.TrimSuffix(p.Zone, ".")))
			continue
		case is.records == nil:
			p.message.RemoveRRset(old.records[:1])
		}
		p.Remove = append(p.Remove, without(old.lines(), is.lines())...)
	}
	for _, s := range want {
		if is := find(has, s); !is.equal(s) {
			p.message.RemoveRRset(s.records[:1])
			p.message.Insert(s.records)
			p.Add = append(p.Add, without(s.lines(), is.lines())...)
		}
	}
}

func without(lines, others []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(others, line) })
}

// parentOf asks the server for the zone above.
func (s Server) parentOf(ctx context.Context, zone string) (string, error) {
	_, above, _ := strings.Cut(zone, ".")
	if above == "" {
		above = "."
	}
	answer, err := s.ask(ctx, above, dns.TypeSOA)
	if err != nil {
		return "", err
	}
	for _, rr := range slices.Concat(answer.Answer, answer.Ns) {
		if soa, ok := rr.(*dns.SOA); ok && answer.Authoritative {
			return dns.CanonicalName(soa.Hdr.Name), nil
		}
	}
	return "", fmt.Errorf("%s does not serve the zone above %s (%s): name its primary server with --server, or the zone with --parent", s.Address, zone, dns.RcodeToString[answer.Rcode])
}

// says is what the parent says of the zone now: its name servers, those of their addresses
// that are glue, and DS.
func (s Server) says(ctx context.Context, zone string) ([]set, error) {
	referral, err := s.ask(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	if referral.Rcode != dns.RcodeSuccess && referral.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%s answers %s when it is asked for %s", s.Address, dns.RcodeToString[referral.Rcode], zone)
	}
	var all []dns.RR
	hosts := map[string]bool{}
	for _, rr := range slices.Concat(referral.Answer, referral.Ns) {
		if ns, ok := rr.(*dns.NS); ok && dns.CanonicalName(ns.Hdr.Name) == zone {
			all = append(all, ns)
			hosts[dns.CanonicalName(ns.Ns)] = true
		}
	}
	for _, rr := range referral.Extra {
		name := dns.CanonicalName(rr.Header().Name)
		if t := rr.Header().Rrtype; (t == dns.TypeA || t == dns.TypeAAAA) && hosts[name] && dns.IsSubDomain(zone, name) {
			all = append(all, rr)
		}
	}
	ds, err := s.ask(ctx, zone, dns.TypeDS)
	if err != nil {
		return nil, err
	}
	for _, rr := range ds.Answer {
		if rr.Header().Rrtype == dns.TypeDS {
			all = append(all, rr)
		}
	}
	return setsOf(all), nil
}

// ask sends one question, over TCP: all glue is wanted.
func (s Server) ask(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.RecursionDesired = false
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, _, err := (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, m, s.Address)
	if err != nil {
		return nil, fmt.Errorf("ask %s what it says of %s: %w", s.Address, name, plainly(err))
	}
	return answer, nil
}

func plainly(err error) error {
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}

// Apply does what the plan says, all of it or nothing, and looks whether it is done.
func (s Server) Apply(ctx context.Context, p Plan, z Zone) error {
	if p.Empty() {
		return nil
	}
	m := p.message.Copy()
	m.SetTsig(s.Key.Name, s.Key.Algorithm, 300, time.Now().Unix())
	client := &dns.Client{Net: "tcp", TsigSecret: map[string]string{s.Key.Name: s.Key.secret}}
	asked, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, _, err := client.ExchangeContext(asked, m, s.Address)
	if err = s.refused(p, answer, err); err != nil {
		return err
	}
	after, err := s.Plan(ctx, z)
	switch {
	case err != nil:
		return fmt.Errorf("it is done, and cannot be looked at: %w", err)
	case !after.Empty():
		return fmt.Errorf("%s took the update of %s, and does not say so: it still lacks %s; is there a CNAME of that name, or are updates held back?", s.Address, p.Parent, strings.Join(append(after.Add, after.Remove...), "; "))
	}
	return nil
}

// refused says in a sentence why the update is not done; nil: it is.
func (s Server) refused(p Plan, answer *dns.Msg, err error) error {
	if answer == nil {
		return fmt.Errorf("update %s at %s: %w", p.Parent, s.Address, plainly(err))
	}
	signature := answer.IsTsig()
	key := strings.TrimSuffix(s.Key.Name, ".")
	switch {
	case signature != nil && signature.Error == dns.RcodeBadKey:
		return fmt.Errorf("%s does not know the TSIG key %s, or has it with another algorithm: nothing is changed", s.Address, key)
	case signature != nil && signature.Error == dns.RcodeBadSig:
		return fmt.Errorf("%s has another secret for the TSIG key %s: nothing is changed", s.Address, key)
	case signature != nil && signature.Error == dns.RcodeBadTime:
		return fmt.Errorf("%s has another time than this machine, more than 5 min away: set the clocks; nothing is changed", s.Address)
	case answer.Rcode == dns.RcodeRefused:
		return fmt.Errorf("%s does not let the TSIG key %s update %s (BIND: allow-update or update-policy of the zone): nothing is changed", s.Address, key, p.Parent)
	case answer.Rcode == dns.RcodeNotAuth || answer.Rcode == dns.RcodeNotZone || answer.Rcode == dns.RcodeNotImplemented:
		return fmt.Errorf("%s takes no updates of %s (%s): name the zone's primary server with --server; nothing is changed", s.Address, p.Parent, dns.RcodeToString[answer.Rcode])
	case answer.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("%s answers the update of %s with %s: nothing is changed", s.Address, p.Parent, dns.RcodeToString[answer.Rcode])
	case err != nil || signature == nil:
		return fmt.Errorf("the answer of %s is not signed by the TSIG key %s: it is not known whether %s is changed", s.Address, key, p.Parent)
	}
	return nil
}
