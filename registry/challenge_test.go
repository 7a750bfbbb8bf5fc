package registry

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		want   []Challenge
	}{
		{"Harbor's", []string{`Bearer realm="http://h:1/service/token",service="harbor-registry",scope="repository:priv/app:pull,push repository:pub/app:pull"`},
			[]Challenge{{"Bearer", map[string]string{"realm": "http://h:1/service/token", "service": "harbor-registry", "scope": "repository:priv/app:pull,push repository:pub/app:pull"}}}},
		{"two in one value", []string{`Negotiate, Basic realm="a \"b\""`},
			[]Challenge{{"Negotiate", map[string]string{}}, {"Basic", map[string]string{"realm": `a "b"`}}}},
		{"two in two values", []string{`Basic realm=x`, `Bearer realm="y"`},
			[]Challenge{{"Basic", map[string]string{"realm": "x"}}, {"Bearer", map[string]string{"realm": "y"}}}},
		{"empty, as Harbor's for a missing project", []string{""}, nil},
		{"none", nil, nil},
		{"with room around", []string{" , Bearer  realm = \"x\" ,\tservice\t=\ty , scope=z"}, []Challenge{{"Bearer", map[string]string{"realm": "x", "service": "y", "scope": "z"}}}},
		{"names of any letter", []string{`A0z9 a=0,Z=9,z_=~`}, []Challenge{{"A0z9", map[string]string{"a": "0", "z": "9", "z_": "~"}}}},
		{"a quote that ends in a backslash", []string{`Bearer realm="x\`}, []Challenge{{"Bearer", map[string]string{}}}},
		{"an open quote", []string{`Bearer realm="x`}, []Challenge{{"Bearer", map[string]string{}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ParseChallenges(c.header); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="http://h/service/token",service="s",scope="repository:a:pull"`)
	f.Add(`Basic realm="a\"", , Negotiate x==`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range ParseChallenges([]string{s}) {
			again := ParseChallenges([]string{c.String()})
			if len(again) != 1 || !reflect.DeepEqual(again[0], c) {
				t.Errorf("%q holds %v, which is written %q and read as %v", s, c, c.String(), again)
			}
		}
	})
}

// No more is believed of one answer than 16 challenges, and what is written is read again.
func TestChallengesAreBounded(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`Basic realm="x", `, 20), ", ")
	if got := ParseChallenges([]string{many, many}); len(got) != 16 {
		t.Errorf("%d challenges", len(got))
	}
	c := Challenge{"Bearer", map[string]string{"scope": "s", "error": `a "b" \ c`, "realm": "r", "b": "", "service": "v"}}
	if got, want := c.String(), `Bearer realm="r",service="v",scope="s",b="",error="a \"b\" \\ c"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := ParseChallenges([]string{c.String()}); len(got) != 1 || !reflect.DeepEqual(got[0], c) {
		t.Errorf("%v", got)
	}
}

// A token service at the registry's own address is reached by the name that the client used,
// also where the registry was asked by that name and has its own idea of the scheme.
func TestWhereAClientFindsTheTokenService(t *testing.T) {
	own := &url.URL{Scheme: "http", Host: "registry.internal:5000"}
	const client = "https://registry.example.org"
	for realm, want := range map[string]string{
		"http://registry.internal:5000/auth":        client + "/auth",
		"http://Registry.Internal.:5000/auth?x=1":   client + "/auth?x=1",
		"http://registry.internal:5000/v2/auth":     client + "/v2/auth",
		"http://registry.example.org/service/token": client + "/service/token",
		"https://registry.example.org/auth":         client + "/auth",
		"https://auth.example.org/auth":             "https://auth.example.org/auth",
		"http://registry.internal/auth":             "http://registry.internal/auth",
		"http://registry.internal:5000.evil/auth":   "http://registry.internal:5000.evil/auth",
		"Registry": "Registry",
	} {
		got := Rewrite([]string{`Bearer realm="` + realm + `",service="its"`}, func(c *Challenge) bool { return c.Readdress(own, client) })
		if want := `Bearer realm="` + want + `",service="its"`; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", realm, got, want)
		}
	}
	values := []string{`basic realm=zot`, `Basic realm="a",Bearer realm="http://registry.internal:5000/auth"`, ""}
	got := Rewrite(values, func(c *Challenge) bool { return c.Readdress(own, client) })
	if want := []string{`basic realm=zot`, `Basic realm="a", Bearer realm="` + client + `/auth"`, ""}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
