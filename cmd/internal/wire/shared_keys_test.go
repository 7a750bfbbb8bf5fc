package wire

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/trial"
)

const firstKey, secondKey = "the first of the fleet's secrets, as they go", "the one that takes its place after a while"

// A secret that could be guessed starts no daemon. The sentence names the field, says how to
// make another, and does not hold it.
func TestAShortKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"short": "7ooShort", "good": firstKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for field, keys := range map[string]string{
		"key": fmt.Sprintf("key: \"file:%s/short\"", dir), "previous_key": fmt.Sprintf("key: \"file:%[1]s/good\", previous_key: \"file:%[1]s/short\"", dir),
	} {
		file := filepath.Join(dir, "fleet.yaml")
		text := fmt.Sprintf(`
domain: h.example.org
datacenters: { par1: { harbor: "http://127.0.0.1:1", addresses: [192.0.2.1], gslb: [127.0.0.1] } }
edge: { plain_http: true, listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", store: { path: "%[1]s/store" }, peers: { %[2]s } }
gslb: { listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", state: "%[1]s/gslb.json", %[2]s }
`, dir, keys)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := fleet.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, edge := NewEdge(t.Context(), EdgeConfig{Fleet: f, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
		_, node := NewGSLB(t.Context(), GSLBFile{Fleet: file, Datacenter: "par1", Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
		for section, err := range map[string]error{"edge.peers": edge, "gslb": node} {
			if err == nil || !strings.HasPrefix(err.Error(), section+"."+field+": it has 8 bytes") || !strings.Contains(err.Error(), "openssl rand -base64 32") || strings.Contains(err.Error(), "7ooShort") {
				t.Errorf("%s.%s: %v", section, field, err)
			}
		}
	}
}

// cookie asks with a cookie, and returns the one that the answer has: a good one stays as it is.
func (r *rereading) cookie(sent string) string {
	r.t.Helper()
	m := new(dns.Msg).SetQuestion("harbor.example.org.", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: sent})
	a, _, err := (&dns.Client{Timeout: trial.Patience}).Exchange(m, r.Addresses()[0])
	if err != nil || a.Rcode != dns.RcodeSuccess || len(a.Answer) == 0 || a.IsEdns0() == nil {
		r.t.Fatalf("%v %v\n%s", a, err, &r.log)
	}
	for _, o := range a.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			return c.Cookie
		}
	}
	r.t.Fatalf("no cookie in %v", a)
	return ""
}

// The keys of cookies are read again with the file. Nobody's cookie is refused while there are
// two, and one that cannot be used takes nothing away.
func TestTheKeyOfCookiesIsReadAgain(t *testing.T) {
	r := startRereading(t)
	file := func(keys string) string {
		return strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { listen", "gslb: { "+keys+"listen", 1)
	}
	r.write("first", firstKey)
	r.write("second", secondKey)
	r.write("short", "short")
	one, two := fmt.Sprintf("key: \"file:%s/first\", ", r.dir), fmt.Sprintf("key: \"file:%s/second\", ", r.dir)
	both := two + fmt.Sprintf("previous_key: \"file:%s/first\", ", r.dir)
	take := func(keys string) {
		r.write("fleet.yaml", file(keys))
		reload(t, &r.log)
	}
	const client = "0102030405060708"
	take(one)
	olds := r.cookie(client)
	if again := r.cookie(olds); again != olds {
		t.Errorf("a good cookie is replaced: %s, %s", olds, again)
	}
	take(both)
	news := r.cookie(olds)
	if news == olds || !sameClient(news, client) || r.cookie(news) != news {
		t.Errorf("beside the next key a cookie of the first one gets %s, not one of the next", news)
	}
	take(two)
	if r.cookie(news) != news {
		t.Error("a cookie that was made while there were two is not good with the second alone")
	}
	if got := r.cookie(olds); got == olds {
		t.Error("a cookie of a key that is gone is good")
	}
	take(fmt.Sprintf("key: \"file:%s/short\", ", r.dir))
	r.says("gslb.key: it has 5 bytes")
	if r.cookie(news) != news {
		t.Error("a key that is refused takes the one of before away")
	}
}

func sameClient(cookie, client string) bool {
	b, err := hex.DecodeString(cookie)
	return err == nil && len(b) == 24 && strings.HasPrefix(cookie, client)
}
