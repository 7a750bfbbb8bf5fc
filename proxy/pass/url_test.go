package pass_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.org/breakwater/proxy/pass"
)

// What an edge without TLS is told of its client, by whatever is before it, decides what
// the client reads; of several the first one knows the client (RFC 7239, 5; RFC 9110, 5.3).
func TestTheFirstProxyKnowsTheClient(t *testing.T) {
	const plain, secure = "http://h.example.org", "https://h.example.org"
	for _, c := range []struct {
		host, header, want string
	}{
		{"", "", plain},
		{"", "X-Forwarded-Proto: http", plain},
		{"", "X-Forwarded-Proto: https", secure},
		{"", "X-Forwarded-Proto: HTTPS", secure},
		{"", "X-Forwarded-Proto: https,http", secure},
		{"", "X-Forwarded-Proto: https, https", secure},
		{"", "X-Forwarded-Proto:  ,\thttps , http", secure},
		{"", "X-Forwarded-Proto: \"https\", http", secure},
		{"", "X-Forwarded-Proto: https\nX-Forwarded-Proto: http", secure},
		{"", "X-Forwarded-Proto: http, https", plain},
		{"", "X-Forwarded-Proto: http\nX-Forwarded-Proto: https", plain},
		{"", "X-Forwarded-Proto: httpsx", plain},
		{"", "Forwarded: proto=https", secure},
		{"", "Forwarded: for=192.0.2.43;Proto=HTTPS;by=203.0.113.43", secure},
		{"", "Forwarded: for=\"[2001:db8::1]:4711\";proto=\"https\", for=10.0.0.1;proto=http", secure},
		{"", "Forwarded: for=\"a,b;proto=http\" ; proto = https", secure},
		{"", "Forwarded: for=\"a\\\"b\";proto=\"\\h\\ttps\"", secure},
		{"", "Forwarded: for=192.0.2.43, for=10.0.0.1;proto=https", plain},
		{"", "Forwarded: proto=http, proto=https", plain},
		{"", "Forwarded: for=192.0.2.43\nX-Forwarded-Proto: https", secure},
		{"", "Forwarded: proto=http\nX-Forwarded-Proto: https", secure}, // a password in the clear is the worse fault
		{"", "Forwarded: ;;=,\"", plain},

		{"edge.internal:8080", "X-Forwarded-Host: h.example.org\nX-Forwarded-Proto: https", secure},
		{"edge.internal", "X-Forwarded-Host: h.example.org, edge.internal", plain},
		{"edge.internal", "X-Forwarded-Host: h.example.org:8443\nX-Forwarded-Proto: https", secure + ":8443"},
		{"edge.internal", "Forwarded: host=h.example.org;proto=https, host=edge.internal", secure},
		{"edge.internal", "Forwarded: HOST=\"h.example.org:8443\";proto=https", secure + ":8443"},
		{"edge.internal", "Forwarded: host=\"[2001:db8::1]:8443\";proto=https", "https://[2001:db8::1]:8443"},
		{"", "X-Forwarded-Host: evil.example/x", plain}, // no host
		{"", "X-Forwarded-Host: a@evil.example", plain},
		{"", "X-Forwarded-Host: \"", plain},

		{"", "X-Forwarded-Port: 8443\nX-Forwarded-Proto: https", secure + ":8443"},
		{"", "X-Forwarded-Port: 8443, 8080\nX-Forwarded-Proto: https, http", secure + ":8443"},
		{"", "X-Forwarded-Port: 443\nX-Forwarded-Proto: https", secure},
		{"", "X-Forwarded-Port: 80\nX-Forwarded-Proto: https", secure}, // of whoever comes later
		{"", "X-Forwarded-Port: 80", plain},
		{"", "X-Forwarded-Port: 8080", plain + ":8080"},
		{"h.example.org:9443", "X-Forwarded-Port: 8443\nX-Forwarded-Proto: https", secure + ":9443"}, // clients name a port themselves
		{"edge.internal", "X-Forwarded-Host: h.example.org\nX-Forwarded-Port: 8443\nX-Forwarded-Proto: https", secure + ":8443"},
		{"[2001:db8::1]", "X-Forwarded-Port: 8443", "http://[2001:db8::1]:8443"},
		{"", "X-Forwarded-Port: 70000", plain},
		{"", "X-Forwarded-Port: x", plain},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.Host = "h.example.org"
		if c.host != "" {
			r.Host = c.host
		}
		for line := range strings.Lines(c.header) {
			name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			r.Header.Add(name, value)
		}
		if got := pass.ClientURL(r); got != c.want {
			t.Errorf("asked for %s with\n%s\nthe client used %s, want %s", r.Host, c.header, got, c.want)
		}
		r.TLS = &tls.ConnectionState{}
		if got := pass.ClientURL(r); got != "https://"+r.Host {
			t.Errorf("with TLS of its own, and %s: %s", c.header, got)
		}
	}
}

// What names Harbor's own address is read as the address that the client used, and
// nothing else is touched.
func TestTheClientReadsTheAddressThatItUsed(t *testing.T) {
	var location string
	proxy, own := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.Header().Set("Link", "</first>; rel=\"first\", <"+location+">; rel=\"next\"")
		w.WriteHeader(http.StatusAccepted)
	})
	_, port, _ := strings.Cut(own, "//127.0.0.1")
	const client = "https://harbor.example.org:8443"
	for in, want := range map[string]string{
		own + "/v2/x/blobs/uploads/1":                        client + "/v2/x/blobs/uploads/1",
		own:                                                  client,
		own + "?a=b":                                         client + "?a=b",
		own + "/a%2Fb%20c?x=%3A#y":                           client + "/a%2Fb%20c?x=%3A#y",
		"https://127.0.0.1" + port + "/v2/":                  client + "/v2/", // Harbor's own idea of the scheme
		"http://[::ffff:127.0.0.1]" + port:                   client,
		"//127.0.0.1" + port + "/v2/":                        client + "/v2/",
		"http://harbor.example.org:8443/v2/":                 client + "/v2/",
		"https://HARBOR.example.org.:8443/":                  client + "/",
		"/v2/x/blobs/uploads/1":                              "/v2/x/blobs/uploads/1",
		own + "0/v2/":                                        own + "0/v2/", // another port
		"https://harbor.example.org:9000/b":                  "https://harbor.example.org:9000/b",
		"https://harbor.example.org/b":                       "https://harbor.example.org/b",
		"http://harbor.example.org.evil.example/":            "http://harbor.example.org.evil.example/",
		"https://storage.example.org/b?from=" + own + "/v2/": "https://storage.example.org/b?from=" + own + "/v2/",
		"http://[":                                           "http://[",

		// nginx puts a slash behind a path, and writes its own scheme and port.
		"http://harbor.example.org:8080/c/":     client + "/c/",
		"https://harbor.example.org:8443/c/":    client + "/c/",
		"http://harbor.example.org/c/":          client + "/c/",
		"http://harbor.example.org:8080/c/?x=1": client + "/c/?x=1",
		"http://harbor.example.org:8080/d/":     "http://harbor.example.org:8080/d/",
		"http://other.example.org:8080/c/":      "http://other.example.org:8080/c/",
	} {
		location = in
		w := httptest.NewRecorder()
		r := from("/c", map[string]string{"X-Forwarded-Proto": "https"})
		r.Host = "harbor.example.org:8443"
		if err := proxy.Serve(w, r, pass.Call{}); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("Location %s is %s, want %s", in, got, want)
		}
		if got := w.Header().Get("Link"); got != "</first>; rel=\"first\", <"+want+">; rel=\"next\"" {
			t.Errorf("Link %s is %s", in, got)
		}
	}
}

// A challenge that names Harbor's token service names the edge's; another one stays.
func TestTheRealmIsTheClientsOwn(t *testing.T) {
	var challenge string
	proxy, own := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Www-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	})
	bearer := func(realm string) string { return `Bearer realm="` + realm + `",service="harbor-registry"` }
	const ours = "http://harbor.example.org/service/token"
	for in, want := range map[string]string{
		bearer(own + "/service/token"):                          bearer(ours),
		bearer("https://harbor.example.org/service/token"):      bearer(ours),
		bearer("https://HARBOR.example.org.:443/service/token"): bearer(ours),
		bearer("http://harbor.example.org:8080/service/token"):  bearer(ours),
		bearer(own + "/elsewhere?a=b"):                          bearer("http://harbor.example.org/elsewhere?a=b"), // a plain registry's
		bearer(own + "0/elsewhere"):                             bearer(own + "0/elsewhere"),
		bearer("https://auth.example.com/service/token"):        bearer("https://auth.example.com/service/token"),
		`Basic realm="harbor", ` + bearer(own+"/service/token"): `Basic realm="harbor", ` + bearer(ours),
		`Basic realm="harbor"`:                                  `Basic realm="harbor"`,
	} {
		challenge = in
		w, r := httptest.NewRecorder(), from("/v2/", nil)
		r.Host = "harbor.example.org"
		if err := proxy.Serve(w, r, pass.Call{}); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Www-Authenticate"); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

// However nginx writes a redirect that only puts a slash behind a path, a client that asked
// by TLS stays where it is.
func TestASlashLeadsNobodyAway(t *testing.T) {
	proxy, _ := behind(t, func(w http.ResponseWriter, r *http.Request) {
		at := url.URL{Scheme: "http", Host: strings.Split(r.Host, ":")[0] + ":8080", Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", at.String())
		w.WriteHeader(http.StatusMovedPermanently)
	})
	for _, path := range []string{"/v2", "/c", "/api", "/service", "/api?x=1"} {
		for host, header := range map[string]map[string]string{
			"harbor.example.org":      {"X-Forwarded-Proto": "https"},
			"harbor.example.org:8443": {"X-Forwarded-Proto": "https"},
			"edge.internal:8080":      {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "harbor.example.org"},
		} {
			w, r := httptest.NewRecorder(), from(path, header)
			r.Host = host
			if err := proxy.Serve(w, r, pass.Call{}); err != nil {
				t.Fatal(err)
			}
			before, query, _ := strings.Cut(path, "?")
			want := pass.ClientURL(r) + before + "/"
			if query != "" {
				want += "?" + query
			}
			if got := w.Header().Get("Location"); got != want {
				t.Errorf("%s of %s leads to %s, want %s", path, host, got, want)
			}
		}
	}
}
