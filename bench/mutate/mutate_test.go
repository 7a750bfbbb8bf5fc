package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryKindOfMutant(t *testing.T) {
	for body, want := range map[string][]string{
		"if a == b {\n\tb()\n}":             {"negate: if !(a == b) {", "delete: "},
		"for a < b {\n}":                    {"negate: for !(a < b) {", "boundary: for a <= b {"},
		"switch {\ncase a >= b:\n}":         {"negate: case !(a >= b):", "boundary: case a > b:"},
		"switch a {\ncase b:\n}":            nil,
		"c := a && b || d":                  {"logic: c := a && b && d", "logic: c := a || b || d"},
		"c := 7":                            {"constant: c := (7 + 1)", "constant: c := (7 - 1)"},
		"c, f := \"7\", 7.5":                nil,
		"a = b":                             {"delete: "},
		"a += b":                            {"delete: "},
		"a++":                               {"delete: "},
		"a <- b":                            {"delete: "},
		"a.b(c)":                            {"delete: "},
		"defer a()":                         nil, // a lock that is kept only takes time
		"h.Log.Warn(a)":                     nil,
		"h.log(a).Info(b)":                  nil,
		"_ = a":                             nil,
		"if a {\n\treturn err\n}":           {"negate: if !(a) {", "error: return nil", "delete: "},
		"if a {\n\treturn nil\n}":           {"negate: if !(a) {", "delete: "},
		"for range a {\n\treturn nil\n}":    {"delete: "},
		"return fmt.Errorf(\"a: %w\", err)": {"error: return nil"},
		"f := func() bool { return a }":     nil,
		"f := func() (int, error) { return a, err }":  {"error: f := func() (int, error) { return a, nil }"},
		"f := func() (a int, err error) { return }":   nil,
		"f := func() (int, error) { return other() }": nil,
	} {
		found, err := mutants("f.go", []byte("package p\n\nfunc f() error {\n"+body+"\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range found {
			got = append(got, m.Kind+": "+m.After)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", body, got, want)
		}
	}
}

func TestAMutantIsOneChange(t *testing.T) {
	source := "package p\n\nfunc f(a, b int) int {\n\tif a < b {\n\t\treturn a\n\t}\n\treturn b\n}\n"
	found, err := mutants("f.go", []byte(source))
	if err != nil || len(found) != 3 {
		t.Fatalf("%v, %v", found, err)
	}
	for i, want := range []struct{ line, changed string }{
		{":4: negate: if a < b { → if !(a < b) {", strings.Replace(source, "a < b", "!(a < b)", 1)},
		{":4: boundary: if a < b { → if a <= b {", strings.Replace(source, "a < b", "a <= b", 1)},
		{":5: delete: return a → (nothing)", strings.Replace(source, "return a", "", 1)},
	} {
		if got := found[i].String(); got != want.line {
			t.Errorf("got %q, want %q", got, want.line)
		}
		if got := string(found[i].changed()); got != want.changed {
			t.Errorf("got %s, want %s", got, want.changed)
		}
	}
}

// weak is a module whose tests let two mutants live, and one of which never ends.
var weak = map[string]string{
	"go.mod": "module example.org/weak\n\ngo 1.26.0\n",
	"weak.go": `package weak

func Power(exponent int) (n int) {
	n = 1
	for exponent > 0 {
		n += n
		exponent--
	}
	return n
}

func Greater(a, b int) bool { return a > b }

func Never(a *int) { *a++ }
`,
	"weak_test.go": `package weak

import "testing"

func TestAll(t *testing.T) {
	if Power(3) != 8 || !Greater(2, 1) || Greater(1, 2) {
		t.Fail()
	}
}
`,
	"other/other_test.go": `package other

import (
	"testing"

	"example.org/weak"
)

func TestAll(t *testing.T) {
	a := 1
	weak.Never(&a)
	if a != 2 {
		t.Fail()
	}
}
`,
}

// begin goes into a module of its own.
func begin(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
}

// judgeWeak judges the mutants of weak.
func judgeWeak(t *testing.T, p plan) (r result) {
	t.Helper()
	begin(t, weak)
	var out bytes.Buffer
	p.JSON = true
	if err := run(t.Context(), p, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func survivors(r result) (all []string) {
	for _, p := range r.Packages {
		for _, m := range p.Survivors {
			all = append(all, m.String())
		}
	}
	slices.Sort(all)
	return all
}

func TestWhatNoTestNoticesIsNamed(t *testing.T) {
	r := judgeWeak(t, plan{Targets: []string{"."}, Limit: 5 * time.Second})
	boundary, never := "weak.go:12: boundary: func Greater(a, b int) bool { return a > b } → func Greater(a, b int) bool { return a >= b }",
		"weak.go:14: delete: func Never(a *int) { *a++ } → func Never(a *int) {  }"
	if got := survivors(r); !slices.Equal(got, []string{boundary, never}) {
		t.Errorf("%q", got)
	}
	// exponent-- is deleted: that never ends.
	if p := r.Packages[0]; p.Package != "./" || p.TimedOut != 1 || p.Mutants != p.Killed+2 || p.Killed < 8 {
		t.Errorf("%+v", p)
	}
	r = judgeWeak(t, plan{Targets: []string{"weak.go"}, With: []string{"./other"}, Limit: 5 * time.Second})
	if got := survivors(r); !slices.Equal(got, []string{boundary}) {
		t.Errorf("with other tests: %q", got)
	}
}

// Tests that fail by themselves judge nothing, and which those are is said.
func TestTestsThatFailByThemselves(t *testing.T) {
	files := maps.Clone(weak)
	files["weak_test.go"] = "package weak\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Error(\"as it is\") }\n"
	begin(t, files)
	err := run(t.Context(), plan{Targets: []string{"."}, Limit: time.Minute}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "TestBad") || !strings.Contains(err.Error(), "weak_test.go:5: as it is") {
		t.Errorf("%v", err)
	}
}

func TestASeedIsOneSample(t *testing.T) {
	sample := func(seed uint64, packages ...string) (all []string) {
		found, err := load(t.Context(), packages)
		if err != nil {
			t.Fatal(err)
		}
		shuffle(seed, found)
		for _, c := range found {
			if strings.HasSuffix(c.path, "mutate") {
				for _, m := range c.mutants[:5] {
					all = append(all, m.String())
				}
			}
		}
		return all
	}
	if a, b := sample(1, "."), sample(1, ".", ".."); !slices.Equal(a, b) {
		t.Errorf("%q and, with another package, %q", a, b)
	}
	if a, b := sample(1, "."), sample(2, "."); slices.Equal(a, b) {
		t.Errorf("both %q", a)
	}
}

func TestTheTable(t *testing.T) {
	r := result{Seed: 7, Packages: []*tally{{Package: "./b"}, {Package: "./a"}}}
	m := &mutant{File: "a/a.go", Line: 3, Kind: "delete", Before: "a()"}
	for _, f := range []fate{killed, timedOut, survived, stillborn, killed} {
		r.Packages[1].count(m, f)
	}
	var out strings.Builder
	if err := r.print(&out, false); err != nil {
		t.Fatal(err)
	}
	if want := `seed 7
package  mutants  killed  by time  survived  %
./a      4        3       1        1         75
all      4        3       1        1         75
a/a.go:3: delete: a() → (nothing)
`; out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
