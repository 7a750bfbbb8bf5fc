package registry

import (
	"reflect"
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
		{"what Negotiate says", []string{`Negotiate YII/Cg+a==, Basic realm="x"`, `NTLM abc , Bearer realm=y`},
			[]Challenge{{"Negotiate", map[string]string{}}, {"Basic", map[string]string{"realm": "x"}}, {"NTLM", map[string]string{}}, {"Bearer", map[string]string{"realm": "y"}}}},
		{"an address without quotes", []string{`Bearer realm=https://h:1/token?a=b,service=s, Basic realm=x`},
			[]Challenge{{"Bearer", map[string]string{"realm": "https://h:1/token?a=b", "service": "s"}}, {"Basic", map[string]string{"realm": "x"}}}},
		{"a parameter without a value", []string{`Bearer realm="r",error,service="s" , Basic realm=x, Negotiate`, `Bearer error, realm="r",service=,scope=s`},
			[]Challenge{{"Bearer", map[string]string{"realm": "r", "service": "s"}}, {"Basic", map[string]string{"realm": "x"}}, {"Negotiate", map[string]string{}}, {"Bearer", map[string]string{"realm": "r", "service": "", "scope": "s"}}}},
		{"single quotes", []string{`Bearer realm='https://h:1/token',service='s',scope='repository:a:pull,push' , Basic realm='it's'`},
			[]Challenge{{"Bearer", map[string]string{"realm": "https://h:1/token", "service": "s", "scope": "repository:a:pull,push"}}, {"Basic", map[string]string{"realm": "'it's'"}}}},
		{"an open single quote", []string{`Bearer realm='r,service=s`, `Bearer realm='`}, []Challenge{{"Bearer", map[string]string{"realm": "'r", "service": "s"}}, {"Bearer", map[string]string{"realm": "'"}}}},
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
	f.Add(`Bearer realm='https://h/token',service='s',scope='repository:a:pull,push'`)
	f.Add(`Bearer realm='r, a='it's' , b='`)
	f.Add(`Bearer error, realm="r",a,b,service=,scope=s, Basic realm=x, Negotiate`)
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
