package gslb

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// signedChild is what a name server of h.example has that signs with these keys, at a time.
func signedChild(t *testing.T, plain string, at time.Time, keys ...*SigningKey) string {
	t.Helper()
	soa, err := dns.NewRR(strings.SplitN(plain, "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	all, err := newSigner(keys, 0).fresh("h.example.", []dns.RR{soa}, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		plain += k.DNSKEY("h.example.").String() + "\n"
	}
	for _, r := range all {
		plain += r.String() + "\n"
	}
	return plain
}

// The parent's DS records are held against the keys that the name servers have.
func TestCheckDelegationOfASignedZone(t *testing.T) {
	const (
		root  = "example. 3600 NS ns.example.\nns.example. 3600 A 127.0.52.2\n"
		cut   = "h.example. 3600 NS ns-par1.h.example.\nh.example. 3600 NS ns-mad1.h.example.\nns-par1.h.example. 3600 A 127.0.52.3\nns-mad1.h.example. 3600 A 127.0.52.4\n"
		apex  = "example. 3600 SOA ns.example. h.example. 1 1 1 1 1\n" + cut
		plain = "h.example. 3600 SOA ns-par1.h.example. h.example. 7 1 1 1 1\n" + cut
	)
	key, before, stranger := newKey(t), newKey(t), newKey(t)
	ds := func(keys ...*SigningKey) (text string) {
		for _, k := range keys {
			text += k.DS("h.example.").String() + "\n"
		}
		return text
	}
	now := time.Now()
	signed := func(keys ...*SigningKey) string { return signedChild(t, plain, now, keys...) }
	one, both := signed(key), signed(key, before)
	for says, c := range map[string]struct {
		ds, par1, mad1 string
		want           []string
		tells          string
	}{
		"all is well":                     {ds(key), one, one, nil, ""},
		"no DS yet":                       {"", one, one, []string{"no-ds"}, strings.ReplaceAll(key.DS("h.example.").String(), "\t", " ")},
		"another key's DS":                {ds(stranger), one, one, []string{"wrong-ds"}, "SERVFAIL"},
		"another zone's DS":               {strings.Replace(key.DS("g.example.").String(), "g.example.", "h.example.", 1) + "\n", one, one, []string{"wrong-ds"}, ""},
		"a DS by SHA-384":                 {key.DNSKEY("h.example.").ToDS(dns.SHA384).String() + "\n", one, one, nil, ""},
		"one that was left beside":        {ds(key, stranger), one, one, []string{"old-ds"}, "do not have"},
		"a new key":                       {ds(before), both, both, []string{"no-ds"}, "write in its place"},
		"both in the parent":              {ds(key, before), both, both, []string{"old-ds"}, "take it out"},
		"the new one alone":               {ds(key), both, both, []string{"old-key"}, "previous_key out of the fleet file"},
		"one of them has not the new key": {ds(before), both, signed(before), []string{"keys"}, "give all of them the same key files"},
		"and the DS is there already":     {ds(key), both, signed(before), []string{"keys", "wrong-ds"}, ""},
		"one of them does not sign":       {ds(key), one, plain, []string{"unsigned"}, "runs with another fleet file"},
		"signatures that have run out":    {ds(key), one, signedChild(t, plain, now.Add(-8*24*time.Hour), key), []string{"bad-signature"}, "its clock"},
		"signatures of tomorrow":          {ds(key), one, signedChild(t, plain, now.Add(24*time.Hour), key), []string{"bad-signature"}, "its clock"},
		"signatures of another key":       {ds(key), one, strings.Replace(signed(stranger), stranger.public, key.public, 1), []string{"bad-signature"}, "there is none"},
	} {
		t.Run(says, func(t *testing.T) {
			tr := &tree{}
			tr.serve(t, "127.0.52.1", ".", root, true)
			tr.serve(t, "127.0.52.2", "example.", apex+c.ds, true)
			tr.serve(t, "127.0.52.3", "h.example.", c.par1, true)
			tr.serve(t, "127.0.52.4", "h.example.", c.mad1, true)
			d := Delegation{Zone: "h.example", Signed: true, Port: tr.port, Roots: tr.roots, Servers: map[string][]netip.Addr{
				"ns-par1.h.example.": {netip.MustParseAddr("127.0.52.3")}, "ns-mad1.h.example.": {netip.MustParseAddr("127.0.52.4")}}}
			found, err := d.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			told := c.tells == ""
			for _, f := range found {
				got = append(got, f.Kind)
				told = told || strings.Contains(f.Message, c.tells)
				t.Logf("%s: %s: %s", f.Kind, f.Where, f.Message)
			}
			if !slices.Equal(got, c.want) || !told {
				t.Errorf("%v, want %v with %q", got, c.want, c.tells)
			}
		})
	}
}
