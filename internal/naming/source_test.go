package naming

import (
	"slices"
	"testing"
)

func TestSourcesAreTheWayBackFromFlatten(t *testing.T) {
	for _, c := range []struct {
		flatten       Flatten
		pattern, flat string
		want          []string
	}{
		{FlattenAll, "library/traefik", "traefik", []string{"library/traefik"}},
		{FlattenAll, "library/traefik", "nginx", nil},
		{FlattenAll, "library/*", "nginx", []string{"library/nginx"}},
		{FlattenAll, "library/*", "a/nginx", nil},
		{FlattenAll, "*/nginx", "nginx", nil}, // whose nginx nobody can tell
		{FlattenAll, "{library,bitnami}/nginx", "nginx", []string{"library/nginx", "bitnami/nginx"}},
		{FlattenAll, "library/{traefik,nginx}", "nginx", []string{"library/nginx"}},
		{FlattenAll, "a/b/{c,d{e,f}}", "df", []string{"a/b/df"}},
		{0, "library/traefik", "library/traefik", []string{"library/traefik"}},
		{0, "library/**", "library/a/b", []string{"library/a/b"}},
		{1, "fluent/fluent-bit", "fluent-bit", []string{"fluent/fluent-bit"}},
		{1, "org/team/**", "team/a/b", []string{"org/team/a/b"}},
		{1, "org/team/**", "other/a", nil},
		{2, "org/team", "team", []string{"org/team"}}, // more than there are: the last is kept
		{1, "nginx", "nginx", []string{"nginx"}},
		{FlattenAll, "**", "nginx", []string{"nginx"}},
		{FlattenAll, "library/[a-c]*", "box", []string{"library/box"}},
		{FlattenAll, "", "box", nil},
		{FlattenAll, "library/box", "", nil},
	} {
		if got := c.flatten.Sources(c.pattern, c.flat); !slices.Equal(got, c.want) {
			t.Errorf("%d %q %q: %q, want %q", c.flatten, c.pattern, c.flat, got, c.want)
		}
	}
}

// Whatever Sources finds, Harbor's rule would have put there.
func FuzzSources(f *testing.F) {
	f.Add(-1, "library/{traefik,nginx}", "nginx")
	f.Add(1, "a/**", "b/c")
	f.Fuzz(func(t *testing.T, flatten int, pattern, flat string) {
		rule := Flatten(flatten)
		for _, name := range rule.Sources(pattern, flat) {
			if !Match(pattern, name) || rule.Apply(name) != flat {
				t.Errorf("%d %q: %q does not become %q", flatten, pattern, name, flat)
			}
		}
	})
}
