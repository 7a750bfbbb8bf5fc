package wire

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/fleet"
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
gslb: { listen: "127.0.0.1:0", metrics: "127.0.0.1:0", admin: "127.0.0.1:0", peers: "127.0.0.1:0", state: "%[1]s/gslb.json", %[2]s }
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
			if err == nil || !strings.HasPrefix(err.Error(), section+"."+field+": it has fewer than 32 bytes") || !strings.Contains(err.Error(), "openssl rand -base64 32") || strings.Contains(err.Error(), "7ooShort") {
				t.Errorf("%s.%s: %v", section, field, err)
			}
		}
	}
}

// exchange asks with a cookie, and returns the one that the answer has: a good one stays as it
// is. The error says that there was no whole answer.
func exchange(address, sent string) (cookie string, err error) {
	m := new(dns.Msg).SetQuestion("harbor.example.org.", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: sent})
	a, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, address)
	if err != nil {
		return sent, err
	}
	if a.Rcode != dns.RcodeSuccess || a.Truncated || len(a.Answer) == 0 || a.IsEdns0() == nil {
		return sent, fmt.Errorf("cut short: %v", a)
	}
	for _, o := range a.IsEdns0().Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			return c.Cookie, nil
		}
	}
	return sent, fmt.Errorf("no cookie in %v", a)
}

func (r *rereading) cookie(sent string) string {
	r.t.Helper()
	cookie, err := exchange(r.Addresses()[0], sent)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, &r.log)
	}
	return cookie
}

// take reads a fleet file again in which this stands in gslb.
func (r *rereading) take(more string) {
	r.t.Helper()
	r.write("fleet.yaml", strings.Replace(r.fleetOf("par1", "mad1"), "gslb: { listen", "gslb: { "+more+"listen", 1))
	reload(r.t, &r.log)
}

// The keys of cookies are read again with the file. Nobody's cookie is refused while there are
// two, and one that cannot be used takes nothing away.
func TestTheKeyOfCookiesIsReadAgain(t *testing.T) {
	r := startRereading(t)
	r.write("first", firstKey)
	r.write("second", secondKey)
	r.write("short", "short")
	one, two := fmt.Sprintf("key: \"file:%s/first\", ", r.dir), fmt.Sprintf("key: \"file:%s/second\", ", r.dir)
	both := two + fmt.Sprintf("previous_key: \"file:%s/first\", ", r.dir)
	const client = "0102030405060708"
	r.take(one)
	olds := r.cookie(client)
	if again := r.cookie(olds); again != olds {
		t.Errorf("a good cookie is replaced: %s, %s", olds, again)
	}
	r.take(both)
	news := r.cookie(olds)
	if news == olds || !sameClient(news, client) || r.cookie(news) != news {
		t.Errorf("beside the next key a cookie of the first one gets %s, not one of the next", news)
	}
	r.take(two)
	if r.cookie(news) != news {
		t.Error("a cookie that was made while there were two is not good with the second alone")
	}
	if got := r.cookie(olds); got == olds {
		t.Error("a cookie of a key that is gone is good")
	}
	r.take(fmt.Sprintf("key: \"file:%s/short\", ", r.dir))
	r.says("gslb.key: it has fewer than 32 bytes")
	if r.cookie(news) != news {
		t.Error("a key that is refused takes the one of before away")
	}
}

func sameClient(cookie, client string) bool {
	b, err := hex.DecodeString(cookie)
	return err == nil && len(b) == 24 && strings.HasPrefix(cookie, client)
}

// The key is replaced at three name servers in any order, while clients ask faster than those
// without a good cookie may: nobody is cut short.
func TestTheKeyOfCookiesIsReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"first": firstKey, "second": secondKey, "third": "and one that comes after both of these"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(key, previous string) string {
		text := fmt.Sprintf("rate_limit: 1, key: \"file:%s/%s\", ", dir, key)
		if previous != "" {
			text += fmt.Sprintf("previous_key: \"file:%s/%s\", ", dir, previous)
		}
		return text
	}
	l := &load{t: t, done: map[string]int{}}
	var servers []*rereading
	for i := range 3 {
		r := startRereading(t, keys("first", ""))
		servers = append(servers, r)
		cookie := "0102030405060708"
		cookie = r.cookie(cookie) // within the limit
		l.again(fmt.Sprint("queries to server ", i), func(int) (err error) {
			cookie, err = exchange(r.Addresses()[0], cookie)
			return err
		})
	}
	l.more(50)
	for _, step := range []struct {
		order         []int
		key, previous string
	}{{[]int{0, 1, 2}, "second", "first"}, {[]int{2, 0, 1}, "second", ""}, {[]int{1, 2, 0}, "third", "second"}, {[]int{2, 1, 0}, "third", ""}} {
		for _, i := range step.order {
			servers[i].take(keys(step.key, step.previous))
			l.more(50)
		}
	}
	l.stop.Store(true)
	l.all.Wait()
	if len(l.failed) > 0 {
		t.Errorf("%d failed of %v: %s", len(l.failed), l.done, l.failed[0])
	}
	for range 10 { // a client without a good one is cut short
		if _, err := exchange(servers[0].Addresses()[0], "1112131415161718"); err != nil {
			return
		}
	}
	t.Error("the limit cuts nobody short: the test shows nothing")
}
