package main

import (
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// unpack unpacks an archive of a release, without the directory that all in it is in.
func unpack(t *testing.T, archive string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	output(t, exec.Command("tar", "-xzf", archive, "-C", dir, "--strip-components=1"))
	return dir
}

// archived: who unpacks the archive of the program has what its table promises, and it runs.
func archived(t *testing.T, dist string) {
	archive := fileOf(t, dist, "breakwater_*_linux_"+runtime.GOARCH+".tar.gz")
	dir := unpack(t, archive)
	want := []string{"CHANGELOG.md", "LICENSE", "README.md", "breakwater", "fleet.example.yaml", "completions/breakwater.bash", "completions/breakwater.fish", "completions/breakwater.zsh",
		"systemd/breakwater-edge.service", "systemd/breakwater-gslb.service", "systemd/breakwater-provision.service", "systemd/breakwater-provision.timer", "systemd/breakwater.sysusers"}
	for _, page := range manuals(t) {
		want = append(want, "man/"+page)
	}
	holds(t, dir, want)
	runs(t, filepath.Join(dir, "breakwater"), filepath.Join(dir, "fleet.example.yaml"), archive)
}

// holds requires that a directory has these files and no others.
func holds(t *testing.T, dir string, want []string) {
	t.Helper()
	var have []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			have = append(have, path)
		}
		return err
	})
	slices.Sort(want)
	if slices.Sort(have); err != nil || !slices.Equal(have, want) {
		t.Errorf("%v: there are\n%s\nwant\n%s", err, strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

// runs requires that the program says the version that its archive's name has, and takes the
// example beside it.
func runs(t *testing.T, program, example, archive string) {
	t.Helper()
	said := output(t, exec.Command(program, "version"))
	version := strings.Split(filepath.Base(archive), "_")[1]
	if !strings.HasPrefix(said, "breakwater v"+version) {
		t.Errorf("%s says %q", archive, said)
	}
	output(t, exec.Command(program, "check", example))
}

// formula: Homebrew is told of archives that are there, with their checksums, and what it
// installs of one is all that a user needs. Those of macOS are looked at in a formula of files
// that stand for them: here none is built.
func formula(t *testing.T, tree, dist string) {
	text, err := os.ReadFile(filepath.Join(dist, "breakwater.rb"))
	if err != nil {
		t.Fatal(err)
	}
	tapped(t, string(text), dist, "linux_arm64", "linux_amd64")
	brewed(t, string(text), fileOf(t, dist, "breakwater_*_linux_"+runtime.GOARCH+".tar.gz"))

	all, stand := []string{"darwin_arm64", "darwin_amd64", "linux_arm64", "linux_amd64"}, t.TempDir()
	for _, platform := range all {
		if err := os.WriteFile(filepath.Join(stand, "breakwater_1.2.3_"+platform+".tar.gz"), []byte(platform), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(tree, "deploy/release/formula.sh"))
	cmd.Dir, cmd.Env = stand, append(os.Environ(), "VERSION=v1.2.3", "HOMEPAGE=https://git.example.net/breakwater")
	tapped(t, output(t, cmd), stand, all...)
}

// tapped requires that the formula leads each of these platforms, and no other, to its archive
// in dir.
func tapped(t *testing.T, text, dir string, platforms ...string) {
	t.Helper()
	called := map[string]string{"macos arm": "darwin_arm64", "macos intel": "darwin_amd64", "linux arm": "linux_arm64", "linux intel": "linux_amd64"}
	block := regexp.MustCompile(`(?m)^  on_(\w+) do\n    on_(\w+) do\n      url "https://[^"]+/releases/download/v([^/"]+)/breakwater_([^/"]+)_([^_"]+_[^_"]+)\.tar\.gz"\n      sha256 "([0-9a-f]{64})"\n    end\n  end$`)
	var found []string
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		system, tag, version, platform, sum := m[1]+" "+m[2], m[3], m[4], m[5], m[6]
		if called[system] != platform || tag != version || digestOf(t, filepath.Join(dir, "breakwater_"+version+"_"+platform+".tar.gz")) != sum {
			t.Errorf("%s is led to another archive: %s", system, m[0])
		}
		found = append(found, platform)
	}
	if !slices.Equal(found, platforms) || strings.Count(text, "url ") != len(platforms) {
		t.Errorf("it has archives of %q, want %q:\n%s", found, platforms, text)
	}
	if blocks, ends := regexp.MustCompile(`(?m)^ *(class|def|test|on_\w+)\b`).FindAllString(text, -1), regexp.MustCompile(`(?m)^ *end$`).FindAllString(text, -1); len(blocks) != len(ends) {
		t.Errorf("%d blocks begin and %d end:\n%s", len(blocks), len(ends), text)
	}
}

// Where Homebrew puts what a formula installs so, below its prefix (docs.brew.sh/Formula-Cookbook).
var brewDirs = map[string]string{"bin": "bin", "man1": "share/man/man1", "bash_completion": "etc/bash_completion.d", "zsh_completion": "share/zsh/site-functions",
	"fish_completion": "share/fish/vendor_completions.d", "pkgshare": "share/breakwater"}

// brewed does what the formula's def install says with an archive, as Homebrew would, and what
// its test says.
func brewed(t *testing.T, text, archive string) {
	t.Helper()
	from, prefix := unpack(t, archive), t.TempDir()
	_, install, _ := strings.Cut(text, "  def install\n")
	install, _, _ = strings.Cut(install, "\n  end\n")
	line := regexp.MustCompile(`^    (\w+)\.install (?:Dir\["([^"]+)"\]|"([^"]+)"(?: => "([^"]+)")?)$`)
	for step := range strings.SplitSeq(install, "\n") {
		m := line.FindStringSubmatch(step)
		if m == nil || brewDirs[m[1]] == "" {
			t.Fatalf("this test does not know what Homebrew does with %q", step)
		}
		to := filepath.Join(prefix, brewDirs[m[1]])
		files, err := filepath.Glob(filepath.Join(from, m[2]+m[3]))
		if err == nil {
			err = os.MkdirAll(to, 0o755)
		}
		if err != nil || len(files) == 0 {
			t.Errorf("%s: the archive has %q, %v", step, files, err)
		}
		for _, file := range files {
			if err := os.Rename(file, filepath.Join(to, cmp.Or(m[4], filepath.Base(file)))); err != nil {
				t.Error(err)
			}
		}
	}
	want := []string{"bin/breakwater", "etc/bash_completion.d/breakwater", "share/zsh/site-functions/_breakwater", "share/fish/vendor_completions.d/breakwater.fish", "share/breakwater/fleet.example.yaml"}
	for _, page := range manuals(t) {
		want = append(want, "share/man/man1/"+page)
	}
	holds(t, prefix, want)
	if !strings.Contains(text, `assert_match version.to_s, shell_output("#{bin}/breakwater version")`) {
		t.Errorf("its test is another one:\n%s", text)
	}
	runs(t, filepath.Join(prefix, "bin/breakwater"), filepath.Join(prefix, "share/breakwater/fleet.example.yaml"), archive)
}

// labArchive: who unpacks the archive of the lab has a fleet, without Go and without a home.
func labArchive(t *testing.T, dist string) {
	dir := unpack(t, fileOf(t, dist, "breakwater-lab_*_linux_"+runtime.GOARCH+".tar.gz"))
	cmd := exec.Command(filepath.Join(dir, releasedName), "--port", "0")
	cmd.Env = []string{"PATH=/nowhere", "TMPDIR=" + shortDir(t), "HOME="}
	lines, printed := suggested(t, cmd)
	for _, line := range lines {
		if strings.Contains(line, dir+"/breakwater explain ") {
			if said := output(t, exec.Command("sh", "-c", line)); !strings.Contains(said, "cache-dockerhub/library/multi") {
				t.Error(said)
			}
			return
		}
	}
	t.Errorf("no line calls what is in the archive:\n%s", printed)
}
