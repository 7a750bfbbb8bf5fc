package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheEntriesThatAreNotProducedAgain: docs/troubleshooting.md says of which entries the
// messages were recorded once. Those are the ones with blocks that TestRunbooks does not compare.
func TestTheEntriesThatAreNotProducedAgain(t *testing.T) {
	const page = "../../docs/troubleshooting.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, entry := range regexp.MustCompile(`(?m)^### (\d+)\. `).FindAllStringSubmatchIndex(string(text), -1) {
		body, _, _ := strings.Cut(string(text[entry[1]:]), "\n### ")
		if strings.Contains(body, "\n```text\n") {
			recorded = append(recorded, string(text[entry[2]:entry[3]]))
		}
	}
	said := regexp.MustCompile(`Blocks of the entries ([\d, and]+),`).FindStringSubmatch(string(text))
	if said == nil {
		t.Fatalf("%s does not say which blocks were recorded once", page)
	}
	if want := regexp.MustCompile(`\d+`).FindAllString(said[1], -1); !slices.Equal(recorded, want) {
		t.Errorf("blocks of %q are not compared; %s says %q", recorded, page, want)
	}
}

// inLab is a block of commands as it runs in the lab: what stands for the fleet of the reader in
// it is the lab's. A machine's clock and disk are not what pages are about.
func (f *fleetUnderTest) inLab(block string) string {
	here := f.Datacenters[0]
	return strings.NewReplacer(
		"/etc/breakwater/fleet.yaml", here.Fleet,
		"@ns-par1.harbor.example.org", "$DNS",
		"harbor.example.org", f.Domain,
		"https://harbor.par1.example.org", here.Harbor,
		"sha256:…", `"$($CRANE digest "$EDGE/cache-dockerhub/library/hello:latest")"`,
		"breakwater doctor ", "breakwater doctor --skip machine,store --root "+f.Parent+" ",
		"breakwater gslb check-delegation ", "breakwater gslb check-delegation --root "+f.Parent+" ",
		" --wait 30s", " --wait 1s",
	).Replace(block)
}

// notRun are the blocks of commands that TestRunbooks does not run, by page and first line, and
// why. A reason that begins with a test's name: that test does what the block says.
func notRun() [][3]string {
	return [][3]string{
		{"CONTRIBUTING.md", "git clone <the repository> && cd breakwater", "this repository and all its tests"},
		{"CONTRIBUTING.md", "go test ./cmd/lab -run 'TestRunbooks/docs/troubleshooting.md'", "this test"},
		{"README.md", "go run ./cmd/lab --tour", "TestTour"},
		{"README.md", "go run ./cmd/lab", "TestTheFirstPullOfTheREADME"},
		{"README.md", "docker pull 127.0.10.1:5000/cache-dockerhub/library/hello:latest", "TestTheFirstPullOfTheREADME"},
		{"README.md", "go build ./cmd/breakwater", "questions, and a daemon"},
		{"bench/README.md", "go run ./bench edge", "hours"},
		{"bench/fleet.md", "go run ./bench fleet", "minutes"},
		{"bench/mutate/README.md", "go run ./bench/mutate --sample 30", "minutes"},
		{"bench/name-servers.md", "go run ./bench gslb", "minutes"},
		{"bench/name-servers.md", "apt-get install -y --no-install-recommends gdnsd knot", "it changes the machine"},
		{"README.md", "dpkg -i breakwater_0.1.0-1_amd64.deb", "TestRelease: in a clean Debian"},
		{"deploy/README.md", "dpkg -i breakwater_0.1.0-1_amd64.deb", "TestRelease: in a clean Debian"},
		{"deploy/README.md", "deploy/release/build.sh dist", "TestRelease"},
		{"deploy/README.md", "install breakwater /usr/bin/", "it changes the machine; TestUnits has the units"},
		{"deploy/delegation/README.md", "aws route53 change-resource-record-sets", "an account at Amazon or Google"},
		{"deploy/helm/breakwater/README.md", "kubectl create namespace registry", "a cluster"},
		{"deploy/helm/harbor-autoscaling/README.md", "helm install harbor goharbor/harbor", "a cluster"},
		{"deploy/observability/README.md", "sed -i", "TestTheRunbooksGetAnAddress"},
		{"deploy/release/README.md", "deploy/release/build.sh dist", "TestRelease"},
		{"deploy/release/README.md", "cosign verify-blob --key cosign.pub", "TestRelease"},
		{"deploy/release/README.md", "deploy/release/home.sh git.example.net/infra/breakwater", "TestAHome"},
		{"deploy/runbooks/alerts.md", "journalctl -u breakwater-edge", "the journal of systemd"},
		{"deploy/runbooks/install.md", "breakwater edge --config /etc/breakwater/fleet.yaml", "daemons"},
		{"deploy/runbooks/migrate-from-artifactory.md", "breakwater provision plan --config", "an Artifactory"},
		{"deploy/runbooks/restore-edge.md", "df -h /var/lib/breakwater", "the disk of an edge's machine"},
		{"deploy/runbooks/rotate-secrets.md", "openssl s_client -connect edge.par1.example.org:443", "an edge with TLS"},
		{"deploy/runbooks/rotate-secrets.md", "vault write -f -field=secret_id", "a Vault"},
		{"deploy/runbooks/take-over-terraform.md", "terraform state list", "a Terraform with a state"},
		{"docs/fleet-file.md", "breakwater schema > fleet.schema.json", "it runs in docs/operations.md"},
		{"docs/operations.md", "breakwater init", "questions, and daemons"},
		{"docs/quick-start.md", "go build -o /usr/local/bin/breakwater", "it changes the machine"},
		{"docs/quick-start.md", "breakwater edge --config", "a daemon"},
		{"docs/quick-start.md", "breakwater gslb --config", "a daemon"},
		{"gslb/README.md", "breakwater gslb delegation apply", "TestDelegationIsAppliedToBIND"},
	}
}

// TestCommandsInDocsRun: every block of commands of every page is run, or listed with the reason
// why not, and the list has nothing else. Blocks stand between fences that say what they are, for
// an indented one does not.
func TestCommandsInDocsRun(t *testing.T) {
	listed, tests := notRun(), testsOfTheTree(t)
	found := make([]bool, len(listed))
	for _, page := range pages(t) {
		name := strings.TrimPrefix(page, "../../")
		for _, b := range fences(t, page) {
			if !slices.Contains([]string{"", "json", "sh", "sh lab", "text", "text lab", "toml", "yaml"}, b.what) {
				t.Errorf("%s:%d: a block of %q: commands are sh lab, or sh", name, b.line, b.what)
			}
			first, _, _ := strings.Cut(b.text, "\n")
			i := slices.IndexFunc(listed, func(l [3]string) bool { return l[0] == name && startsWith(first, l[1]) })
			switch {
			case b.what == "sh" && i < 0:
				t.Errorf("%s:%d: nothing runs %q: make it sh lab, or list it with the reason", name, b.line, first)
			case b.what == "sh" && found[i]:
				t.Errorf("%s:%d: %q begins two blocks", name, b.line, first)
			case b.what == "sh":
				found[i] = true
			}
		}
		for _, line := range indented(t, page) {
			t.Errorf("%s:%d: an indented block: write it between fences", name, line)
		}
	}
	for i, l := range listed {
		if !found[i] {
			t.Errorf("%s has no block of sh that begins with %q", l[0], l[1])
		}
		for _, test := range regexp.MustCompile(`\bTest\w+`).FindAllString(l[2], -1) {
			if !tests[test] {
				t.Errorf("%s: %q: there is no %s", l[0], l[1], test)
			}
		}
	}
}

// startsWith reports whether a line begins with these words, as whole words.
func startsWith(line, words string) bool {
	rest, ok := strings.CutPrefix(line, words)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " /"))
}

// indented are the lines at which blocks begin that are indented, as Markdown has them too.
func indented(t *testing.T, page string) (all []int) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, fenced, block := "", false, false
	for i, line := range strings.Split(string(text), "\n") {
		deep := strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced, block = !fenced, false
		case !fenced && deep && !block && strings.TrimSpace(before) == "" && strings.TrimSpace(line) != "":
			all, block = append(all, i+1), true
		case !deep && strings.TrimSpace(line) != "":
			block = false
		}
		before = line
	}
	return all
}

// testsOfTheTree are the names of all tests of the repository.
func testsOfTheTree(t *testing.T) map[string]bool {
	t.Helper()
	all, test := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../../", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range test.FindAllSubmatch(text, -1) {
			all[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
