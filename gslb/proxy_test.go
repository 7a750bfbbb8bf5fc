package gslb

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// proxied is a header, in hexadecimal, for what comes after the signature.
func proxied(t testing.TB, rest string) []byte {
	return append([]byte(proxySignature), unhex(t, rest)...)
}

var proxyHeaders = []struct{ name, rest, client string }{ // client "": there is none to be had
	{"IPv4 over UDP", "21 12 000c c6336401 c0000201 1234 0035", "198.51.100.1"},
	{"IPv4 over TCP", "21 11 000c c6336401 c0000201 1234 0035", "198.51.100.1"},
	{"IPv6", "21 22 0024 20010db8000000000000000000000001 20010db8000000000000000000000002 1234 0035", "2001:db8::1"},
	{"IPv4 in IPv6", "21 22 0024 00000000000000000000ffffc6336401 00000000000000000000ffffc0000201 1234 0035", "198.51.100.1"},
	{"with further fields", "21 12 0010 c6336401 c0000201 1234 0035 04 0001 00", "198.51.100.1"},
	{"the proxy itself", "20 00 0000", "127.0.0.2"},
	{"the proxy itself, with addresses", "20 12 000c c6336401 c0000201 1234 0035", "127.0.0.2"},
	{"of no family", "21 00 0000", "127.0.0.2"},
	{"another version", "11 12 000c c6336401 c0000201 1234 0035", ""},
	{"another command", "22 12 000c c6336401 c0000201 1234 0035", ""},
	{"another family", "21 31 00d8 " + strings.Repeat("00", 216), ""},
	{"addresses that are cut", "21 12 0008 c6336401 c0000201", ""},
	{"IPv6 in the room of IPv4", "21 22 000c c6336401 c0000201 1234 0035", ""},
	{"longer than anybody needs", "21 12 0201 " + strings.Repeat("00", 513), ""},
}

// whoAsks is a server that has a proxy, 127.0.0.2, and tells who has asked.
func whoAsks(t *testing.T) (address string, seen chan netip.Addr) {
	seen = make(chan netip.Addr, 10)
	r := &responder{answerer: answererFunc(func(q *query, from netip.Addr) answer {
		if len(q.asked) > 1 { // not the sentinel's
			seen <- from
		}
		return answer{auth: true}
	})}
	return startServer(t, &server{responder: r, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}, "127.0.0.1:0"), seen
}

// exchangeFrom sends b from an address, and says what came first: an answer, or nil where
// that was the one to what was sent after it.
func exchangeFrom(t *testing.T, network, from, server string, b, after []byte) []byte {
	t.Helper()
	if network == "tcp" {
		c := dialFrom(t, from, server)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		response, err := readFramed(c)
		if err != nil {
			return nil
		}
		return response
	}
	c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(deadline())
	for _, b := range [][]byte{b, after} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	response := make([]byte, udpBuffer)
	n, err := c.Read(response)
	if err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint16(response) == 0xeeee {
		return nil
	}
	return response[:n]
}

// TestProxyProtocol: the client is who the proxy says; who says nothing is not heard.
func TestProxyProtocol(t *testing.T) {
	server, seen := whoAsks(t)
	query := packed(t, "harbor.example.org.", dns.TypeA)
	local := proxied(t, "20 00 0000")
	for _, c := range proxyHeaders {
		header := proxied(t, c.rest)
		for network, b := range map[string][]byte{"udp": append(bytes.Clone(header), query...), "tcp": append(bytes.Clone(header), framed(query)...)} {
			response := exchangeFrom(t, network, "127.0.0.2", server, b, append(bytes.Clone(local), unhex(t, sentinel)...))
			switch {
			case c.client == "" && response != nil:
				t.Errorf("%s, over %s: it is answered: %x", c.name, network, response)
			case c.client != "" && readable(query, response) != "NOERROR aa rd":
				t.Errorf("%s, over %s: %s", c.name, network, readable(query, response))
			case c.client != "":
				if got := <-seen; got.String() != c.client {
					t.Errorf("%s, over %s: the client is %s, want %s", c.name, network, got, c.client)
				}
			}
		}
	}
	for network, b := range map[string][]byte{"udp": query, "tcp": framed(query)} {
		if response := exchangeFrom(t, network, "127.0.0.2", server, b, append(local, unhex(t, sentinel)...)); response != nil {
			t.Errorf("a proxy that does not say who asks is answered over %s", network)
		}
	}
}

// TestProxyProtocolOfOthers: to who is no proxy it is no message that could be answered.
func TestProxyProtocolOfOthers(t *testing.T) {
	server, seen := whoAsks(t)
	query := packed(t, "harbor.example.org.", dns.TypeA)
	b := append(proxied(t, proxyHeaders[0].rest), query...)
	if response := exchangeFrom(t, "udp", "127.0.0.1", server, b, query); readable(b, response) != "NOTIMP rd header" {
		t.Errorf("it is answered: %s", readable(b, response))
	}
	if response := exchangeFrom(t, "udp", "127.0.0.1", server, query, query); readable(query, response) != "NOERROR aa rd" {
		t.Errorf("without: %s", readable(query, response))
	}
	if from := <-seen; from.String() != "127.0.0.1" {
		t.Errorf("the client is %s", from)
	}
}

// TestProxiedClientsAreCounted: a connection is its client's, not the proxy's, whose networks
// would have none left.
func TestProxiedClientsAreCounted(t *testing.T) {
	s := &server{responder: wireResponder(t), maxPerNetwork: 1, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}
	server := startServer(t, s, "127.0.0.1:0")
	connect := func(client string) net.Conn {
		c := dialFrom(t, "127.0.0.2", server)
		if _, err := c.Write(proxied(t, "21 11 000c "+client+" c0000201 1234 0035")); err != nil || !served(t, c) {
			t.Fatal("not served", err)
		}
		return c
	}
	first, other := connect("c6336401"), connect("c0000201")
	connect("c63364ff")
	if !served(t, other) {
		t.Error("a client gave way to another network's")
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a network has more than its share")
	}
}

// TestProxiedClientsAreLimited: the rate is the client's, and so is the cookie.
func TestProxiedClientsAreLimited(t *testing.T) {
	r := wireResponder(t)
	r.limit = newLimiter(1, at(1e9))
	server := startServer(t, &server{responder: r, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}, "127.0.0.1:0")
	query := packed(t, "four.harbor.example.org.", dns.TypeA)
	last := append(proxied(t, "21 12 000c 0a000001 c0000201 1234 0035"), unhex(t, sentinel)...)
	ask := func(client string, query []byte) []byte {
		binary.BigEndian.PutUint32(last[proxyHead:], binary.BigEndian.Uint32(last[proxyHead:])+1<<8) // nobody is limited for it
		return exchangeFrom(t, "udp", "127.0.0.2", server, append(proxied(t, "21 12 000c "+client+" c0000201 1234 0035"), query...), last)
	}
	for i, want := range []bool{true, false} {
		if got := ask("c6336401", query) != nil; got != want {
			t.Errorf("query %d is answered: %t", i, got)
		}
	}
	if ask("c0000201", query) == nil {
		t.Error("another client pays for it")
	}
	cookie, _ := r.cookies.reply(nil, []byte("12345678"), netip.MustParseAddr("198.51.100.1"))
	proven, err := buildQuery([]string{"four.harbor.example.org.", "A", "cookie=" + hex.EncodeToString(cookie)})
	if err != nil {
		t.Fatal(err)
	}
	if ask("c6336401", proven) == nil {
		t.Error("the client's cookie does not hold")
	}
}

// FuzzProxy: no header reaches beyond what came, and what is read of one is what it says.
func FuzzProxy(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add(append(proxied(f, c.rest), 1, 2, 3))
	}
	proxy := netip.MustParseAddr("127.0.0.2")
	f.Fuzz(func(t *testing.T, b []byte) {
		client, size, err := parseProxy(b, proxy)
		switch {
		case err != nil && (client.IsValid() || size != 0):
			t.Errorf("%x is refused, and is of %s", b, client)
		case err == nil && (size < proxyHead || size > len(b) || !client.IsValid() || client.Is4In6()):
			t.Errorf("%x is a header of %d bytes, of %s", b, size, client)
		case err == nil && client != proxy && !bytes.Contains(b[proxyHead:size], client.AsSlice()):
			t.Errorf("%x does not say %s", b, client)
		}
	})
}
