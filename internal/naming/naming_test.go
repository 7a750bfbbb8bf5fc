package naming

import (
	"strings"
	"testing"
)

func TestValidProject(t *testing.T) {
	for s, want := range map[string]bool{
		"cache-dockerhub": true, "cache-quay.io": true, "a": true, "a_b": true, "0": true,
		"": false, "A": false, "a--b": false, "-a": false, "a-": false, "a/b": false, "a b": false, strings.Repeat("a", 256): false, "a\n": false,
	} {
		if got := ValidProject(s); got != want {
			t.Errorf("ValidProject(%q) = %v", s, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"v2.10.{[0-9],[0-9][0-9]}", "v2.10.7", true},
		{"v2.10.{[0-9],[0-9][0-9]}", "v2.10.17", true},
		{"v2.10.{[0-9],[0-9][0-9]}", "v2.10.rc", false},
		{"v2.{10}.{?,??}", "v2.10.rc", true},
		{"multi-dc-x/**", "multi-dc-x/a/b", true},
		{"multi-dc-x/*", "multi-dc-x/a/b", false},
		{"[", "[", false},
	} {
		if got := Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.s, got)
		}
		if err := CheckPattern(c.pattern); (err == nil) != (c.pattern != "[") {
			t.Errorf("CheckPattern(%q) = %v", c.pattern, err)
		}
	}
}

func TestFlatten(t *testing.T) {
	for _, c := range []struct {
		flatten    Flatten
		name, want string
	}{
		{FlattenAll, "library/traefik", "traefik"},
		{FlattenAll, "a/b/c", "c"},
		{0, "library/traefik", "library/traefik"},
		{1, "multi-dc-x/y/app", "y/app"},
		{2, "a/b", "b"},
		{1, "a", "a"},
	} {
		if got := c.flatten.Apply(c.name); got != c.want {
			t.Errorf("%d of %q is %q, want %q", c.flatten, c.name, got, c.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("v{1,2}.*", "v1.0")
	f.Add("{{{", "x")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if CheckPattern(pattern) != nil && Match(pattern, s) && pattern != "" {
			t.Errorf("%q is refused, and matches %q", pattern, s)
		}
	})
}

func TestNearestIsWhatAMistypedNameMeans(t *testing.T) {
	known := []string{"cache-dockerhub", "cache-ghcr.io", "check", "edge"}
	for name, want := range map[string]string{
		"cache-dockerhb": "cache-dockerhub", "cache-docker": "cache-dockerhub", "cache-ghcr": "cache-ghcr.io",
		"chek": "check", "egde": "edge", "": "", "something-else-altogether": "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q is near %q, want %q", name, got, want)
		}
	}
}
