package gslb

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
)

// at is a clock that stands.
func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

// TestCookiesOfTheRFC has the vectors of RFC 9018, appendix A.
func TestCookiesOfTheRFC(t *testing.T) {
	const first, old, next = "e5e973e5a6b2a43f48e7dc849e37bfcf", "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
	for _, c := range []struct {
		name               string
		secrets            []string
		from, cookie, want string
		now                int64
		valid              bool
	}{
		{"A.1, the first cookie", []string{first}, "198.51.100.100",
			"2464c4abcf10c957", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559731985, false},
		{"A.1, a minute later", []string{first}, "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559732045, true},
		{"A.2, a renewed cookie", []string{first}, "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77", 1559734385, true},
		// The RFC's own one is older than the hour that its section 4.3 gives.
		{"A.3, reserved bytes set", []string{first}, "203.0.113.203",
			"fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e", 1559734700, false},
		{"A.3, when it was new", []string{first}, "203.0.113.203",
			"fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985, true},
		{"A.4, IPv6 and a new secret", []string{next, old}, "2001:db8:220:1:59de:d0f4:8769:82b8",
			"22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a", 1559741961, true},
	} {
		jar := newCookies(at(c.now))
		var secrets []secret
		for _, s := range c.secrets {
			secrets = append(secrets, secret(unhex(t, s)))
		}
		jar.set(secrets)
		got, valid := jar.reply(nil, unhex(t, c.cookie), netip.MustParseAddr(c.from))
		if hex.EncodeToString(got) != c.want || valid != c.valid {
			t.Errorf("%s: reply %x (valid %t), want %s (valid %t)", c.name, got, valid, c.want, c.valid)
		}
	}
}

func TestCookiesAge(t *testing.T) {
	now := time.Unix(1<<32-60, 0) // the seconds wrap
	jar := newCookies(func() time.Time { return now })
	from := netip.MustParseAddr("192.0.2.1")
	first, valid := jar.reply(nil, unhex(t, "0102030405060708"), from)
	if valid {
		t.Fatal("a client's cookie alone proves nothing")
	}
	start := now
	for _, c := range []struct {
		name         string
		after        time.Duration
		valid, renew bool
	}{
		{"at once", 0, true, false},
		{"of a clock that is ahead", -5 * time.Minute, true, false},
		{"of a clock that is too far ahead", -5*time.Minute - time.Second, false, true},
		{"nearly half an hour old", 30*time.Minute - time.Second, true, false},
		{"half an hour old", 30 * time.Minute, true, true},
		{"an hour old", time.Hour, true, true},
		{"more than an hour old", time.Hour + time.Second, false, true},
	} {
		now = start.Add(c.after)
		got, valid := jar.reply(nil, first, from)
		if valid != c.valid || bytes.Equal(got, first) == c.renew {
			t.Errorf("%s: valid %t, reply %x for %x", c.name, valid, got, first)
		}
	}
}

func TestCookiesOfOthers(t *testing.T) {
	jar := newCookies(at(1e9))
	from := netip.MustParseAddr("192.0.2.1")
	good, _ := jar.reply(nil, unhex(t, "0102030405060708"), from)
	if _, valid := jar.reply(nil, good, netip.MustParseAddr("192.0.2.2")); valid {
		t.Error("valid from another address")
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, valid := jar.reply(nil, bad, from); valid && i != 15 { // a second later is as good, if the hash were
			t.Errorf("valid with byte %d changed: %s", i, hex.EncodeToString(bad))
		}
	}
	if _, valid := newCookies(at(1e9)).reply(nil, good, from); valid {
		t.Error("two servers that nobody configured have the same secret")
	}
	for _, n := range []int{16, 23, 25, 40} {
		if _, valid := jar.reply(nil, append(bytes.Clone(good), make([]byte, 16)...)[:n], from); valid {
			t.Errorf("valid with %d bytes", n)
		}
	}
}

func TestOwnSecretsRotate(t *testing.T) {
	now := time.Unix(86400*20000-1, 0)
	jar := newCookies(func() time.Time { return now })
	before := jar.current(jar.now().Unix())
	from := netip.MustParseAddr("192.0.2.1")
	cookie, _ := jar.reply(nil, unhex(t, "0102030405060708"), from)
	now = now.Add(time.Second)
	after := jar.current(jar.now().Unix())
	if after[0] == before[0] || after[1] != before[0] {
		t.Error("a day's secret is not the next day's old one")
	}
	if _, valid := jar.reply(nil, cookie, from); !valid {
		t.Error("a cookie is refused because the day ended")
	}
}
