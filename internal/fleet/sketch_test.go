package fleet

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Names can be read of a file that is refused.
func TestAFileThatIsBeingWrittenHasNames(t *testing.T) {
	const whole = "domain: harbor.example.org\ndatacenters:\n  par1: { harbor: https://h.par1.example.org }\n  mad1: { harbor: https://h.mad1.example.org }\n"
	names := []string{"par1", "mad1"}
	for what, c := range map[string]struct {
		text string
		want []string
	}{
		"whole":            {whole, names},
		"a mistyped key":   {whole + "egde: {}\n", names},
		"no domain":        {whole[len("domain: harbor.example.org\n"):], names},
		"a tab":            {whole + "edge:\n\tlisten: x\n", names},
		"a quote":          {whole + "edge:\n  listen: \"x\n", names},
		"a bracket":        {whole + "edge: { listen: x\n", names},
		"in the middle":    {"domain: x\ndatacenters:\n  par1: { harbor: https://h.par1.example.org }\n  mad1: { harbor:\n", names[:1]},
		"empty":            {"", nil},
		"a list":           {"- a\n", nil},
		"no YAML":          {"\x00\x01", nil},
		"an alias of self": {"datacenters: &a\n  par1: *a\n", names[:1]},
	} {
		file := filepath.Join(t.TempDir(), "fleet.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Sketch(file).Order; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	for _, file := range []string{"", "nowhere", t.TempDir(), "/dev/zero"} {
		if got := Sketch(file); len(got.Order) > 0 {
			t.Errorf("%s: %q", file, got.Order)
		}
	}
}
