package gslb

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Of signatures.
const (
	signedFor    = 7 * 24 * time.Hour // from when they are made; they are made anew at half of it
	signedBefore = time.Hour          // clocks of resolvers may be behind by that much
	signedCheck  = time.Minute        // how often is looked whether some are to be made anew: by the clock, which may jump
)

// signer makes signatures, and keeps those that what is answered now needs. Signatures of
// one name server say nothing of those of another one: all are good. The zone is signed by
// each of the keys, so that a resolver needs to know only one (RFC 6781, section 4.1.3).
type signer struct {
	keys     []*SigningKey // none: nothing is signed
	lifetime time.Duration
	made     map[string][]*dns.RRSIG // by what they are of; see set
	one      sync.Mutex              // is held by who signs something that is asked for only now
}

// setOf tells the record sets of a zone apart.
type setOf struct {
	name  string
	rtype uint16
}

// signedSet is a set of records, and the signatures of it.
type signedSet struct{ records, signatures []dns.RR }

// signedZone is what a signed zone has beside what an unsigned one has. Nobody changes it.
type signedZone struct {
	signer *signer
	origin string
	sets   map[setOf]*signedSet // those that do not depend on who asks
	links  []link               // in their order
	exists map[string]bool      // the names that there are, empty non-terminals too
	until  time.Time            // when the first signature runs out
}

// of is a set of the zone's, an empty one where it has none.
func (z *signedZone) of(name string, rtype uint16) *signedSet {
	if z != nil {
		if set := z.sets[setOf{name, rtype}]; set != nil {
			return set
		}
	}
	return nothingSigned
}

var nothingSigned = &signedSet{}

func newSigner(keys []*SigningKey, lifetime time.Duration) *signer {
	if lifetime == 0 {
		lifetime = signedFor
	}
	return &signer{keys: keys, lifetime: lifetime}
}

// sign signs all that a view may answer. What was signed for the one before is taken over
// while it is good. It is for one caller at a time, and for a view that nobody has yet.
func (s *signer) sign(v *view) error {
	if len(s.keys) == 0 {
		return nil
	}
	b := &signing{signer: s, now: time.Now(), made: map[string][]*dns.RRSIG{}}
	for _, z := range v.zones {
		b.zone(z)
	}
	if b.err != nil {
		return fmt.Errorf("sign: %w", b.err)
	}
	s.made = b.made
	return nil
}

// due reports whether a signature is to be made anew.
func (s *signer) due() bool {
	now := time.Now()
	for _, all := range s.made {
		if !s.good(all, now) {
			return true
		}
	}
	return false
}

// good reports whether signatures hold, and will for some time. A clock that was set back
// makes new ones of those that begin later than now.
func (s *signer) good(all []*dns.RRSIG, now time.Time) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(r *dns.RRSIG) bool {
		return time.Unix(int64(r.Inception), 0).After(now) || time.Unix(int64(r.Expiration), 0).Sub(now) <= s.lifetime/2
	})
}

// fresh signs a set of records of the zone, with each key.
func (s *signer) fresh(zone string, records []dns.RR, now time.Time) (all []*dns.RRSIG, err error) {
	for _, k := range s.keys {
		key := k.DNSKEY(zone)
		r := &dns.RRSIG{Hdr: dns.RR_Header{Ttl: records[0].Header().Ttl}, Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: zone,
			Inception: uint32(now.Add(-signedBefore).Unix()), Expiration: uint32(now.Add(s.lifetime).Unix())}
		if err := r.Sign(k.private, records); err != nil {
			return nil, fmt.Errorf("%s %s: %w", records[0].Header().Name, dns.TypeToString[records[0].Header().Rrtype], err)
		}
		all = append(all, r)
	}
	return all, nil
}

// now signs what depends on who asks, for him; nothing where somebody else is at it: no
// more than one processor is ever kept busy so.
func (z *signedZone) now(records []dns.RR) []dns.RR {
	if !z.signer.one.TryLock() {
		return nil
	}
	defer z.signer.one.Unlock()
	all, _ := z.signer.fresh(z.origin, records, time.Now()) // what cannot be signed has no signature
	return asRecords(all)
}

func asRecords(all []*dns.RRSIG) (out []dns.RR) {
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

// signing is one run of a signer.
type signing struct {
	*signer
	now  time.Time
	made map[string][]*dns.RRSIG
	err  error // the first one
}

// zone signs a zone.
func (b *signing) zone(z *zoneView) {
	out := &signedZone{signer: b.signer, origin: z.Origin, sets: map[setOf]*signedSet{}, exists: map[string]bool{}}
	var keys []dns.RR
	for _, k := range b.keys {
		keys = append(keys, k.DNSKEY(z.Origin))
	}
	for _, records := range append(z.fixedSets(), keys) {
		of := records[0].Header()
		out.sets[setOf{of.Name, of.Rrtype}] = b.set(out, records)
	}
	for _, n := range z.names {
		for _, own := range n.families {
			own.signatures = make([][]dns.RR, len(own.records))
			for _, dc := range own.Members {
				own.signatures[dc] = b.set(out, own.records[dc]).signatures
			}
		}
	}
	b.chain(z, out)
	z.signed = out
}

// set signs a set of records, or takes over what it was signed with.
func (b *signing) set(z *signedZone, records []dns.RR) *signedSet {
	texts := []string{z.origin}
	for _, rr := range records {
		texts = append(texts, rr.String())
	}
	slices.Sort(texts[1:])
	id := strings.Join(texts, "\n")
	all := b.signer.made[id]
	if !b.good(all, b.now) {
		var err error
		if all, err = b.fresh(z.origin, records, b.now); err != nil && b.err == nil {
			b.err = err
		}
	}
	b.made[id] = all
	for _, r := range all {
		if until := time.Unix(int64(r.Expiration), 0); z.until.IsZero() || until.Before(z.until) {
			z.until = until
		}
	}
	return &signedSet{records, asRecords(all)}
}

// fixedSets are the sets of records that depend on nobody's health.
func (z *zoneView) fixedSets() (all [][]dns.RR) {
	all = append(all, []dns.RR{z.soa})
	if len(z.ns) > 0 {
		all = append(all, z.ns)
	}
	for _, host := range sortedKeys(z.hosts) {
		for _, f := range families {
			if records := z.ofHost(host, f.qtype); len(records) > 0 {
				all = append(all, records)
			}
		}
	}
	if z.ACMEChallenge != "" {
		for _, name := range sortedKeys(z.names) {
			all = append(all, []dns.RR{z.challenge(acmeLabel + name)})
		}
	}
	return all
}

// withProof adds to an answer what proves it, for who says that he reads it (RFC 4035,
// section 3.1).
func (z *zoneView) withProof(a *answer, q *query) {
	if len(a.answers) > 0 {
		a.answers = appendUpTo(slices.Clip(a.answers), a.signatures, a.answers[0].Header().Ttl)
	}
	if len(a.ns) > 0 {
		ttl := a.ns[0].Header().Ttl
		a.ns = appendUpTo(a.ns, z.signed.of(z.Origin, dns.TypeSOA).signatures, ttl)
		for _, set := range z.signed.denials(a.rcode, q.name()) {
			a.ns = appendUpTo(appendUpTo(a.ns, set.records, ttl), set.signatures, ttl)
		}
	}
	glue := a.extra
	a.extra = slices.Clip(a.extra)
	seen := map[setOf]bool{}
	for _, rr := range glue {
		if of := (setOf{rr.Header().Name, rr.Header().Rrtype}); !seen[of] {
			a.extra, seen[of] = append(a.extra, z.signed.of(of.name, of.rtype).signatures...), true
		}
	}
}

// appendUpTo appends records, with that TTL where theirs is longer.
func appendUpTo(all, more []dns.RR, ttl uint32) []dns.RR {
	for _, rr := range more {
		all = append(all, withTTL(rr, min(rr.Header().Ttl, ttl)))
	}
	return all
}

// renewal is how often is looked whether signatures are to be made anew.
func (s *Node) renewal() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(signedCheck, s.fleet.signer.lifetime/8)
}

// renew makes signatures anew that are to be.
func (s *Node) renew() {
	s.mu.Lock()
	due := s.fleet.signer.due()
	s.mu.Unlock()
	if due {
		s.refresh()
	}
}
