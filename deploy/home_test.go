package deploy_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAHome: one command gives the project a home. No place keeps the one before, and what
// is left is a tree whose packages find each other.
func TestAHome(t *testing.T) {
	if testing.Short() {
		t.Skip("copies the tree")
	}
	tree := filepath.Join(t.TempDir(), "tree")
	run := func(line string) string {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", line, "bash", tree)
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, text)
		}
		return string(text)
	}
	if exec.Command("git", "rev-parse").Run() != nil {
		t.Skip("this is no git repository")
	}
	run(`mkdir "$1"; cd ..; git ls-files -z | xargs -0 cp -P --parents -t "$1"; cd "$1"; git init -q; git add -A; git -c user.name=x -c user.email=x@example.net commit -qm x`)
	const module, pages = "git.example.net/" + "infra/front", "https://pages.example.net/" + "front/main" // this file is moved, too
	move := func(module, pages string) { run(`cd "$1"; deploy/release/home.sh ` + module + " " + pages) }
	move(module, pages)
	// Hosts whose names end so are others.
	left := run(`cd "$1"; git grep -nE '(^|[^A-Za-z0-9.-])example[\\]?\.org/breakwater' || true`)
	if left != "" {
		t.Errorf("the home before is in\n%s", left)
	}
	for _, want := range []string{
		`deploy/observability/rules.yaml:          runbook_url: ` + pages + `/deploy/runbooks/alerts.md#breakwateredgedown`,
		`deploy/helm/breakwater/Chart.yaml:home: https://` + module,
		`deploy/helm/go.mod:replace ` + module + ` => ../..`,
		`deploy/release/package/nfpm.yaml:maintainer: the breakwater authors <breakwater@git.example.net>`,
	} {
		file, line, _ := strings.Cut(want, ":")
		if text := run(`cd "$1"; cat ` + file); !strings.Contains(text, line+"\n") {
			t.Errorf("%s has no %q", file, line)
		}
	}
	if said := run(`cd "$1"; go list -deps -test ./... >/dev/null; (cd deploy/helm && go list ./... >/dev/null); gofmt -l .`); said != "" {
		t.Error(said)
	}
	provenance := run(`cd "$1"; echo "$(printf '%064d' 0)  file" | VERSION=v1.2.3 PLATFORMS=linux/amd64 deploy/release/provenance.sh`)
	for _, want := range []string{
		`"buildType":"` + pages + `/deploy/release/README.md#build-type"`,
		`"builder":{"id":"` + pages + `/deploy/release/build.sh"}`,
		`"source":"git+https://` + module + `"`,
	} {
		if !strings.Contains(provenance, want) {
			t.Errorf("a release's provenance has no %s: %s", want, provenance)
		}
	}
	// Somebody else maintains the packages.
	run(`cd "$1"; deploy/release/home.sh ` + module + " " + pages + ` 'Infra <infra@example.net>'; grep -qx 'maintainer: Infra <infra@example.net>' deploy/release/package/nfpm.yaml`)
	// A second move, and back again, lose nothing.
	move("example.org/breakwater", "https://example.org/breakwater")
	if changed := run(`cd "$1"; git diff --stat`); changed != "" {
		t.Errorf("it does not come back:\n%s", changed)
	}
}
