package gslb

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// keysOf asks a name server of a signed zone for its keys, the one in use first, and wants a
// good signature of one of them.
func (d Delegation) keysOf(ctx context.Context, zone, who string, at netip.AddrPort) (keys []*dns.DNSKEY, found []Finding) {
	answer, err := exchange(ctx, "udp", at, proving(zone, dns.TypeDNSKEY))
	if err != nil {
		return nil, nil // it is found silent anyway
	}
	for _, rr := range answer.Answer {
		if key, ok := rr.(*dns.DNSKEY); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, []Finding{{"unsigned", who, "its answers are not signed, and by the fleet file they are: it runs with another fleet file, or has not taken the key (gslb.dnssec.key); see its log"}}
	}
	if answer, err = exchange(ctx, "udp", at, proving(zone, dns.TypeSOA)); err != nil {
		return keys, nil
	}
	if why := unproven(answer.Answer, keys); why != "" {
		found = append(found, Finding{"bad-signature", who, fmt.Sprintf("its signatures are not good: %s; look whether its clock is right, and at its log", why)})
	}
	return keys, found
}

// proving is a question for an answer with proof.
func proving(name string, qtype uint16) *dns.Msg {
	m := asking(name, qtype)
	m.IsEdns0().SetDo()
	return m
}

// unproven says why no signature of a set of records is good by one of the keys; "": one is.
func unproven(answer []dns.RR, keys []*dns.DNSKEY) (why string) {
	isProof := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }
	records := slices.DeleteFunc(slices.Clone(answer), isProof)
	why = "there is none"
	for _, rr := range answer {
		r, ok := rr.(*dns.RRSIG)
		if !ok {
			continue
		}
		for _, key := range keys {
			switch {
			case key.KeyTag() != r.KeyTag || key.Algorithm != r.Algorithm:
			case r.Verify(key, records) != nil:
				why = "one is forged, or of another zone"
			case !r.ValidityPeriod(time.Now()):
				why = fmt.Sprintf("one holds from %s to %s, and it is %s", dns.TimeToString(r.Inception), dns.TimeToString(r.Expiration), time.Now().UTC().Format("20060102150405"))
			default:
				return ""
			}
		}
	}
	return why
}

// common are the keys that all name servers have, in the order of the first one; that they
// have others is found.
func common(zone string, of map[string][]*dns.DNSKEY) (keys []*dns.DNSKEY, found []Finding) {
	var said []string
	differ := false
	hosts := sortedKeys(of)
	for _, host := range hosts {
		var tags []string
		for _, key := range of[host] {
			tags = append(tags, fmt.Sprint(key.KeyTag()))
		}
		said = append(said, fmt.Sprintf("%s at %s", strings.Join(tags, ", "), host))
		differ = differ || !slices.EqualFunc(of[host], of[hosts[0]], sameKey)
	}
	if len(hosts) > 0 {
		keys = slices.DeleteFunc(slices.Clone(of[hosts[0]]), func(key *dns.DNSKEY) bool {
			return slices.ContainsFunc(hosts, func(host string) bool {
				return !slices.ContainsFunc(of[host], func(other *dns.DNSKEY) bool { return sameKey(key, other) })
			})
		})
	}
	if differ {
		found = append(found, Finding{"keys", zone, "the name servers sign with different keys, by their tags (" + strings.Join(said, "; ") + "); give all of them the same key files and fleet file"})
	}
	return keys, found
}

func sameKey(a, b *dns.DNSKEY) bool {
	return a.PublicKey == b.PublicKey && a.Algorithm == b.Algorithm && a.Flags == b.Flags
}

// ofDS is what is wrong with the DS records of a parent's server, where all name servers have
// these keys: the one in use and, while it is replaced, the one of before.
func ofDS(zone, who string, ds []*dns.DS, keys []*dns.DNSKEY) (found []Finding) {
	add := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, who, fmt.Sprintf(format, args...)})
	}
	if len(keys) == 0 {
		return nil // which is found already
	}
	of := func(key *dns.DNSKEY) func(*dns.DS) bool {
		return func(is *dns.DS) bool {
			want := key.ToDS(is.DigestType)
			return want != nil && is.KeyTag == want.KeyTag && is.Algorithm == want.Algorithm && strings.EqualFold(is.Digest, want.Digest)
		}
	}
	var has []bool
	strangers := slices.Clone(ds)
	for _, key := range keys {
		has = append(has, slices.ContainsFunc(ds, of(key)))
		strangers = slices.DeleteFunc(strangers, of(key))
	}
	want := strings.ReplaceAll(keys[0].ToDS(dns.SHA256).String(), "\t", " ")
	switch {
	case len(ds) == 0:
		add("no-ds", "the parent has no DS record for %s, so nobody relies on its signatures; add %s", zone, want)
		return found
	case !slices.Contains(has, true):
		add("wrong-ds", "no DS record of the parent for %s is of a key that all name servers have: resolvers that validate give SERVFAIL; write in their place %s", zone, want)
		return found
	case !has[0]:
		add("no-ds", "the parent has the DS record of the key of before alone; an hour after all name servers have the new key write in its place %s", want)
	case len(keys) > 1 && has[1]:
		add("old-ds", "the parent has the DS record of the key of before still (key tag %d); take it out, and when its TTL has passed gslb.dnssec.previous_key", keys[1].KeyTag())
	case len(keys) > 1:
		add("old-key", "no DS record of the parent is of the key of before (key tag %d) any more; when the TTL of the one that was has passed, take gslb.dnssec.previous_key out of the fleet file", keys[1].KeyTag())
	}
	for _, is := range strangers {
		add("old-ds", "the parent has a DS record of a key that the name servers do not have (key tag %d); take it out", is.KeyTag)
	}
	return found
}
