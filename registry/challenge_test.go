package registry

import (
	"reflect"
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
