package registry

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

func destinations(t *testing.T, texts named) []Destination {
	t.Helper()
	if texts == nil {
		return nil
	}
	all := []Destination{}
	for _, text := range texts {
		d, err := ParseDestination(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

const outside, inside = "http://registry.example.org", "http://10.9.0.1"

// named is what the configuration names; nil: it says nothing.
type named []string

var redirects = []struct {
	source, location string
	named            named
	good             bool
}{
	{outside, "http://storage.example.net/b", nil, true},
	{outside, "http://203.0.113.20/b", nil, true},
	{outside, "http://[2001:db8::20]/b", nil, true},
	{outside, "http://[64:ff9b::203.0.113.20]/b", nil, true},
	{outside, "http://10.0.0.1:8080/b", nil, false},
	{outside, "http://172.31.0.1/b", nil, false},
	{outside, "http://192.168.0.1/b", nil, false},
	{outside, "http://100.64.0.1/b", nil, false},
	{outside, "http://[fd12::1]/b", nil, false},
	{outside, "http://[fec0::1]/b", nil, false},
	{outside, "http://[::ffff:10.0.0.1]/b", nil, false},
	{outside, "http://[64:ff9b::10.0.0.1]/b", nil, false},
	{outside, "http://[2002:a00:1::1]/b", nil, false},
	{outside, "http://10.0.0.1./b", nil, false},
	{outside, "http://127.0.0.1/b", nil, false},
	{outside, "http://[::1]/b", nil, false},
	{outside, "http://0.0.0.0/b", nil, false},
	{outside, "http://localhost/b", nil, false},
	{outside, "http://LOCALHOST./b", nil, false},
	{outside, "http://x.localhost/b", nil, false},
	{outside, "http://127.1/b", nil, false},
	{outside, "http://2130706433/b", nil, false},
	{outside, "http://0x7f.1/b", nil, false},
	{outside, "http://169.254.169.254/b", nil, false},

	{inside, "http://10.9.0.2:9000/b", nil, true},
	{inside, "http://192.168.0.1/b", nil, true},
	{inside, "http://[fd12::1]/b", nil, true},
	{inside, "http://100.64.0.1/b", nil, true},
	{inside, "http://203.0.113.20/b", nil, true},
	{"http://[fd12::1]", "http://172.16.0.1/b", nil, true},
	{"http://100.64.0.1", "http://10.0.0.1/b", nil, true},
	{inside, "http://127.0.0.1/b", nil, false},
	{inside, "http://localhost/b", nil, false},
	{inside, "http://169.254.169.254/b", nil, false},
	{inside, "http://[fe80::1]/b", nil, false},
	{inside, "http://100.100.100.200/b", nil, false},
	{inside, "http://[fd00:ec2::254]/b", nil, false},
	{inside, "http://[64:ff9b::169.254.169.254]/b", nil, false},
	{inside, "http://168.63.129.16/b", nil, false},
	{"http://127.0.0.1", "http://10.0.0.1/b", nil, false}, // who listens on this machine may stand for anybody
	{"http://169.254.169.254", "http://10.0.0.1/b", nil, false},

	{outside, "http://10.0.0.1/b", named{"10.0.0.0/8"}, true},
	{outside, "http://[::ffff:10.0.0.1]/b", named{"10.0.0.1"}, true},
	{outside, "http://10.0.0.1/b", named{"::ffff:10.0.0.1"}, true},
	{outside, "http://11.0.0.1/b", named{"10.0.0.0/8"}, true}, // public
	{outside, "http://192.168.0.1/b", named{"10.0.0.0/8", "storage.example.net"}, false},
	{outside, "http://localhost/b", named{"localhost"}, true},
	{outside, "http://127.0.0.1/b", named{"127.0.0.0/8"}, true},
	{outside, "http://169.254.169.254/b", named{"169.254.169.254"}, true},
	{outside, "http://[fd00:ec2::254]/b", named{"fd00:ec2::254"}, true},
	{inside, "http://10.9.0.2/b", named{"10.9.0.2"}, true},
	{inside, "http://10.9.0.3/b", named{"10.9.0.2"}, false}, // what is named is all that there is
	{inside, "http://10.9.0.2/b", named{}, false},
}

// Where a redirect may lead depends on who sends it, and on what the configuration names.
// The way out is a proxy here, at a private address of its own: behind it addresses are
// judged, and names are its own to resolve.
func TestWhereARedirectMayLead(t *testing.T) {
	for _, c := range redirects {
		var strayed atomic.Bool
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case "http://"+r.URL.Host != c.source:
				strayed.Store(!c.good)
				io.WriteString(w, "content")
			case r.URL.Path != "/v2/":
				w.Header().Set("Location", c.location)
				w.WriteHeader(http.StatusFound)
			}
		}))
		cfg := SourceConfig{URL: c.source, Proxy: proxy.URL}
		cfg.Redirects = destinations(t, c.named)
		resp, err := newSource(t, cfg).Do(t.Context(), blobRequest(), nil)
		if (err == nil) != c.good || strayed.Load() {
			t.Errorf("of %s to %s, where %v is named: %v, followed where it may not lead: %v", c.source, c.location, c.named, err, strayed.Load())
		}
		if err == nil {
			resp.Body.Close()
		}
		proxy.Close()
	}
}

// at is a connection whose other end says that it is at an address.
type at struct {
	net.Conn
	address netip.AddrPort
}

func (c at) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.address) }

// seenAt has a source's own connections, for questions and for what is long, seem to lead to
// an address.
func (s *Source) seenAt(address string) {
	for _, pool := range s.client.Load().pools[:2] {
		dial := pool.DialContext
		pool.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
			conn, err := dial(ctx, network, to)
			return at{conn, netip.MustParseAddrPort(address)}, err
		}
	}
}

// Whether a source is inside is seen from the address that answered, whatever its name is,
// and each redirect counts by who sent it: one that came from outside leads nowhere inside.
func TestAnUpstreamIsInsideByTheAddressThatAnswers(t *testing.T) {
	for _, c := range []struct {
		source, storage string // the addresses behind the two names
		named           named
		good            bool
	}{
		{"203.0.113.10", "203.0.113.20", nil, true},
		{"203.0.113.10", "10.9.0.2", nil, false},
		{"10.9.0.1", "10.9.0.2", nil, true},
		{"10.9.0.1", "127.0.0.1", nil, false},
		{"fd12::1", "10.9.0.2", nil, true},
		{"203.0.113.10", "10.9.0.2", named{"storage.example.net"}, true},
		{"203.0.113.10", "10.9.0.2", named{"*.EXAMPLE.net."}, true},
		{"203.0.113.10", "10.9.0.2", named{"*.storage.example.net"}, false},
		{"203.0.113.10", "10.9.0.2", named{"*.net.evil.example"}, false},
		{"203.0.113.10", "127.0.0.1", named{"storage.example.net"}, true},
		{"203.0.113.10", "169.254.169.254", named{"storage.example.net", "10.0.0.0/8"}, false}, // a name leads where its owner wants
		{"203.0.113.10", "169.254.169.254", named{"169.254.0.0/16"}, true},
	} {
		cfg := SourceConfig{URL: "http://registry.example.org"}
		cfg.Redirects = destinations(t, c.named)
		s := newSource(t, cfg).client.Load()
		from := net.Addr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.source), 80)))
		req := httptest.NewRequest(http.MethodGet, cfg.URL, nil)
		if got := s.admits("storage.example.net", netip.MustParseAddr(c.storage), s.answersInside(req, from)); got != c.good {
			t.Errorf("from %s to %s, where %v is named: %v", c.source, c.storage, c.named, got)
		}
	}
}

// On real connections: what is refused is not dialled, though a name led there.
func TestARedirectIsRefusedBeforeItIsDialled(t *testing.T) {
	var asked atomic.Int64
	storage := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer storage.Close()
	u, err := url.Parse(storage.URL)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Redirect(w, r, "http://localhost:"+u.Port()+"/b", http.StatusTemporaryRedirect)
		}
	}))
	defer srv.Close()
	for _, c := range []struct {
		named named
		good  bool
	}{
		{nil, false},
		{named{"localhost"}, true},
		{named{"127.0.0.0/8", "::1"}, true},
		{named{"10.0.0.0/8"}, false},
	} {
		cfg := SourceConfig{URL: srv.URL}
		cfg.Redirects = destinations(t, c.named)
		before := asked.Load()
		s := newSource(t, cfg)
		s.seenAt("10.9.0.1:80") // as if the registry were in the same datacenter
		resp, err := s.Do(t.Context(), blobRequest(), nil)
		if (err == nil) != c.good || (asked.Load() > before) != c.good || err != nil && !strings.Contains(err.Error(), "the cache's redirects") {
			t.Errorf("where %v is named: %v, asked %d times", c.named, err, asked.Load()-before)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

// Who redirects is seen on the connection that the answer came by, whatever its name is, and
// with tokens too.
func TestWhoRedirectsIsSeenOnTheConnection(t *testing.T) {
	srv, _ := registryWithTokens(t, func(self string) string { return self + "/token" }, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://10.255.255.1:9/b", http.StatusTemporaryRedirect) // nobody is there
	})
	for address, refused := range map[string]bool{"203.0.113.10:80": true, "10.9.0.1:80": false, "[fd12::1]:80": false, "127.0.0.1:80": true} {
		s := newSource(t, SourceConfig{URL: srv.URL, Username: "robot", Password: "secret"})
		s.seenAt(address)
		patience := 300 * time.Millisecond // with whom nobody is
		if refused {
			patience = trial.Patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		resp, err := s.Do(ctx, blobRequest(), nil)
		if got := err != nil && strings.Contains(err.Error(), "refused a redirect"); got != refused {
			t.Errorf("from %s: %v", address, err)
		}
		if err == nil { // a proxy of the machine's says so
			resp.Body.Close()
		}
		cancel()
	}
}

// A registry that redirects to itself is asked with its token, however it writes itself.
func TestASourceIsAtHomeInEverySpelling(t *testing.T) {
	const port = ":8443"
	for location, home := range map[string]bool{
		"/there":                                true,
		"//reg.example.net/there":               true,
		"http://reg.example.net/there":          true,
		"http://reg.example.net:80/there":       true,
		"http://REG.Example.net/there":          true,
		"http://reg.example.net./there":         true,
		"http://reg.example.net" + port + "/x":  false,
		"http://storage.reg.example.net/there":  false,
		"http://reg.example.net.evil.example/x": false,
	} {
		var shown atomic.Value
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/there", "/x":
				shown.Store(r.Header.Get("Authorization"))
			case "/v2/":
			default:
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
		}))
		s := newSource(t, SourceConfig{URL: "http://reg.example.net", Proxy: proxy.URL})
		resp, err := s.Do(t.Context(), blobRequest(), http.Header{"Authorization": {"Bearer x"}})
		if err != nil {
			t.Fatal(location, err)
		}
		resp.Body.Close()
		if got := shown.Load() == "Bearer x"; got != home {
			t.Errorf("%s: at home: %v", location, got)
		}
		proxy.Close()
	}
}

// What ends TLS before a registry is not known to it: its redirects to itself, without
// TLS, are at home in it.
func TestASourceIsAtHomeInTLS(t *testing.T) {
	var location atomic.Value
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/there" {
			io.WriteString(w, r.Header.Get("Authorization"))
			return
		}
		w.Header().Set("Location", location.Load().(string))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	s := newSource(t, SourceConfig{URL: srv.URL, TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig})
	host := strings.TrimPrefix(srv.URL, "https://")
	for _, to := range []string{"http://" + host, "https://" + host, "https://[::ffff:" + strings.Replace(host, ":", "]:", 1)} {
		location.Store(to + "/there")
		resp, err := s.Do(t.Context(), blobRequest(), http.Header{"Authorization": {"Bearer x"}})
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "Bearer x" {
			t.Errorf("%s: it is shown %q", to, body)
		}
		resp.Body.Close()
	}
}

// A source with TLS that redirects out of it, to itself too, is shown nothing there, in the clear:
// its own address is asked by TLS, and where that is what was asked already it is refused.
func TestCredentialsStayWithinTLS(t *testing.T) {
	const own = "https://reg.example.net"
	for _, c := range []struct {
		location string
		trusted  bool
		want     string // what the answer says: by which way, and what was shown; or the error has
	}{
		{"http://reg.example.net/there", false, "TLS Bearer x"},
		{"http://reg.example.net:80/there", false, "TLS Bearer x"},
		{"http://REG.example.net.:443/there", false, "TLS Bearer x"},
		{"http://fleet.example.org/there", true, "TLS Bearer x"}, // as its clients know it
		{"http://reg.example.net:80" + blobRequest().Path(), true, "itself without TLS"},
		{"http://reg.example.net" + blobRequest().Path(), true, "itself without TLS"},
		{"http://reg.example.net:8080/there", true, "plain "},
		{"http://storage.example.net:80/there", true, "plain "},
		{"http://reg.example.net:8080/there", false, "out of TLS"},
		{"http://storage.example.net:80/there", false, "out of TLS"},
	} {
		answer := func(way string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/there" || way != "TLS" {
					io.WriteString(w, way+" "+r.Header.Get("Authorization")) //nolint:errcheck // the client has gone
					return
				}
				w.Header().Set("Location", c.location)
				w.WriteHeader(http.StatusTemporaryRedirect)
			})
		}
		secure, plain := httptest.NewTLSServer(answer("TLS")), httptest.NewServer(answer("plain"))
		believes := secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		believes.ServerName = "example.com"
		s := newSource(t, SourceConfig{URL: own, TLS: believes, Trusted: c.trusted, Names: []string{"fleet.example.org"}})
		for _, pool := range s.client.Load().pools {
			pool.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				at := plain
				if strings.HasSuffix(address, ":443") {
					at = secure
				}
				return new(net.Dialer).DialContext(ctx, network, at.Listener.Addr().String())
			}
		}
		got := ""
		resp, err := s.Do(t.Context(), blobRequest(), http.Header{"Authorization": {"Bearer x"}})
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got = string(body)
		}
		if got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("to %s: %q, %v, want %q", c.location, got, err, c.want)
		}
		secure.Close()
		plain.Close()
	}
}

func TestWhatNamesADestination(t *testing.T) {
	for text, good := range map[string]bool{
		"minio.example.net": true, "*.example.net": true, "MINIO.example.net.": true, "bücher.example": true, "10.0.0.0/8": true, "10.9.0.2": true, "fd12::/16": true, "[fd12::1]": true, "minio": true,
		"": false, "*": false, "*.": false, "10.0.0.1/8": false, "http://minio": false, "minio:9000": false, "10.9.0.2:9000": false, "a.*.b": false, "10.0.0.0/33": false, "minio/bucket": false, "a b": false,
	} {
		if _, err := ParseDestination(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
