package registry_test

import (
	"net/url"
	"testing"

	"example.org/breakwater/registry"
)

// URLs of one place are of one server, however they are written (RFC 3986, 6.2.2 and
// 6.2.3; RFC 5891; RFC 5952).
func TestAPlaceHasManySpellings(t *testing.T) {
	for _, same := range [][]string{
		{"http://reg.example.net", "http://reg.example.net:80", "http://reg.example.net:", "HTTP://REG.example.NET/v2/", "http://reg.example.net./", "http://reg.example.net.:80", "http://reg.example.net:080"},
		{"https://reg.example.net", "https://reg.example.net:443/x?y", "https://Reg.Example.Net.:443"},
		{"https://reg.example.net:5000", "http://REG.example.net:5000"},
		{"https://bücher.example", "https://BÜCHER.example", "https://xn--bcher-kva.example", "https://XN--BCHER-KVA.example:443", "https://b%C3%BCcher.example", "https://bücher。example"},
		{"http://[2001:db8::1]", "http://[2001:DB8:0:0:0:0:0:1]:80", "http://[2001:0db8::0001]"},
		{"http://10.9.0.1", "http://10.9.0.1:80", "http://[::ffff:10.9.0.1]", "http://[::ffff:a09:1]:80"},
		{"https://my_registry.internal", "https://MY_registry.internal"},
	} {
		for _, one := range same {
			if got, want := placeOf(t, one), placeOf(t, same[0]); got != want {
				t.Errorf("%s leads to %s, want %s as %s", one, got, want, same[0])
			}
		}
	}
	for a, b := range map[string]string{
		"http://reg.example.net":              "https://reg.example.net",
		"http://reg.example.net:8080":         "http://reg.example.net",
		"http://reg.example.net.evil.example": "http://reg.example.net",
		"http://[2001:db8::1]":                "http://[2001:db8::10]",
		"http://bücher.example":               "http://bucher.example",
	} {
		if placeOf(t, a) == placeOf(t, b) {
			t.Errorf("%s and %s are one place", a, b)
		}
	}
}

func placeOf(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return registry.Place(u)
}

// A domain is one owner's, whose hosts may be told each other's credentials.
func TestADomainHasManySpellings(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"auth.docker.io", "registry-1.DOCKER.io.", true},
		{"auth.bücher.example", "xn--bcher-kva.example", true},
		{"[::1]", "0:0:0:0:0:0:0:1", true},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"a.github.io", "b.github.io", false},
		{"a.co.uk.", "b.co.uk", false},
		{"localhost", "LOCALHOST.", true},
		{"localhost", "127.0.0.1", false},
		{"evil.example", "quay.io", false},
	} {
		if got := registry.SameDomain(c.a, c.b); got != c.same {
			t.Errorf("%s and %s are of one domain: %v", c.a, c.b, got)
		}
	}
}
