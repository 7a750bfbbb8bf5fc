package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/breakwater/internal/trial"
)

// fileOf is the file of a release that matches.
func fileOf(t *testing.T, dist, pattern string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dist, pattern))
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %v %v", pattern, all, err)
	}
	return all[0]
}

// debian is a clean root of this machine's Debian, and how commands run in it.
type debian struct{ root string }

func newDebian(t *testing.T) debian {
	t.Helper()
	if os.Getuid() != 0 {
		trial.Missing(t, "root, who makes a clean Debian")
	}
	trial.Client(t, "dpkg")
	trial.Client(t, "unshare")
	trial.Client(t, "systemd-analyze")
	d := debian{filepath.Join(t.TempDir(), "debian")}
	output(t, exec.Command("sh", "testdata/debian-root.sh", d.root))
	return d
}

// command runs in the root; its mounts end with it. user is what chroot takes: "" for root.
func (d debian) command(user string, args ...string) *exec.Cmd {
	const enter = `mount --rbind /dev "$0/dev"; mount -t proc proc "$0/proc"; user="$1"; root="$0"; shift; exec chroot --userspec="$user" "$root" "$@"`
	if user == "" {
		user = "0:0"
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-euc", enter, d.root, user}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	return cmd
}

func (d debian) run(t *testing.T, line string) string {
	t.Helper()
	return output(t, d.command("", "sh", "-euc", line))
}

// threeCommands are what README.md says that brings an edge up; deploy/README.md says the same.
func threeCommands(t *testing.T, tree string) []string {
	t.Helper()
	block := func(page, heading string) string {
		text, err := os.ReadFile(filepath.Join(tree, page))
		if err != nil {
			t.Fatal(err)
		}
		_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		_, section, _ = strings.Cut(section, "```sh\n")
		block, _, _ := strings.Cut(section, "```")
		return block
	}
	first := block("README.md", "Run it")
	if other := block("deploy/README.md", "Packages"); other != first {
		t.Errorf("deploy/README.md says\n%s\nand README.md\n%s", other, first)
	}
	lines := strings.Split(strings.TrimSpace(first), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "dpkg -i ") || !strings.HasPrefix(lines[1], "breakwater init ") || !strings.HasPrefix(lines[2], "systemctl enable --now ") {
		t.Fatalf("%q", lines)
	}
	return lines
}

// installed: in a clean Debian the three commands of README.md bring an edge up before a
// Harbor of the lab, and a client pulls through it. An upgrade keeps what was written.
func installed(t *testing.T, tree, dist string) {
	crane, home, d, f := trial.Client(t, "crane"), t.TempDir(), newDebian(t), startLab(t)
	commands := threeCommands(t, tree)
	deb := fileOf(t, dist, "breakwater_*_"+runtime.GOARCH+".deb")
	output(t, exec.Command("cp", deb, filepath.Join(d.root, "breakwater_0.1.0-1_amd64.deb")))
	enabled := filepath.Join(d.root, "etc/systemd/system/multi-user.target.wants/breakwater-edge.service")

	d.run(t, commands[0])
	if left, _ := filepath.Glob(filepath.Join(d.root, "etc/systemd/system/*/*")); len(left) > 0 {
		t.Errorf("the package enables %v", left)
	}
	if said := d.run(t, "breakwater version; breakwater schema >/dev/null; test -s /usr/share/man/man1/breakwater-edge.1; breakwater check /usr/share/doc/breakwater/fleet.example.yaml"); !strings.HasPrefix(said, "breakwater v") {
		t.Error(said)
	}
	units := []string{"--root=" + d.root, "--man=no", "verify", "breakwater-edge.service", "breakwater-gslb.service", "breakwater-provision.service", "breakwater-provision.timer"}
	if said := output(t, exec.Command("systemd-analyze", units...)); strings.Contains(said, "breakwater") {
		t.Error(said)
	}
	d.run(t, strings.Replace(commands[1], "https://harbor.par1.example.org", f.Datacenters[0].Harbor, 1))
	// No systemd runs in the root: what it would start now is started below.
	if said := d.run(t, strings.Replace(commands[2], " --now", "", 1)); !strings.Contains(said, "multi-user.target.wants/breakwater-edge.service") {
		t.Error(said)
	}

	edge := d.start(t, enabled)
	output(t, clientCommand(t, home, crane, "pull", "--insecure", edge+"/cache-dockerhub/library/hello:latest", home+"/hello.tar"))

	const see = "stat -c %U:%G:%a /etc/breakwater /etc/breakwater/secrets /etc/breakwater/provision; "
	if made := d.run(t, see); made != "root:breakwater:2750\nroot:breakwater:2750\nroot:breakwater-provision:2750\n" {
		t.Errorf("it makes %s", made)
	}
	d.run(t, "echo DATACENTER=par1 >/etc/breakwater/environment; chmod 02700 /etc/breakwater/secrets; chgrp root /etc/breakwater/provision; "+commands[0])
	if kept := d.run(t, "cat /etc/breakwater/environment; "+see+"breakwater check /etc/breakwater/fleet.yaml"); !strings.HasPrefix(kept, "DATACENTER=par1\nroot:breakwater:2750\nroot:breakwater:2700\nroot:root:2750\n") {
		t.Errorf("an upgrade leaves %s", kept)
	}
	d.run(t, "dpkg -r breakwater; test -e /etc/breakwater/fleet.yaml; test ! -e /usr/bin/breakwater")
	if _, err := os.Lstat(enabled); err == nil {
		t.Error("it is removed and enabled")
	}
}

// start starts what the enabled unit says, as systemd would: nobody but a member of the
// group breakwater, with a directory of its own. The ports are free ones of this machine.
func (d debian) start(t *testing.T, unit string) (edge string) {
	t.Helper()
	target, err := os.Readlink(unit)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(d.root, target))
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(text)
	group := regexp.MustCompile(`breakwater:x:(\d+)`).FindStringSubmatch(d.run(t, "getent group breakwater"))
	if start == nil || group == nil {
		t.Fatalf("%s\n%q", text, group)
	}
	edge = trial.Free(t, "127.0.0.1")
	d.run(t, "sed -i 's/^  plain_http: true/  listen: "+edge+"\\n  metrics: "+trial.Free(t, "127.0.0.1")+"\\n  admin: "+trial.Free(t, "127.0.0.1")+"\\n&/' /etc/breakwater/fleet.yaml; install -d -m 700 -o 65533 -g "+group[1]+" /var/lib/breakwater")
	args := strings.Fields(string(start[1]))
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "${DATACENTER}", "") // the environment file says nothing of it
	}
	cmd := d.command("65533:"+group[1], args...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGKILL) //nolint:errcheck // Wait says
		cmd.Wait()                          //nolint:errcheck // it was killed
		if t.Failed() {
			t.Logf("the edge says\n%s", &log)
		}
	})
	trial.Until(t, func() error {
		resp, err := http.Get("http://" + edge + "/breakwater/v1/health")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	return edge
}

// packaged is what .deb and .rpm have alike.
var packaged = []string{
	"/etc/breakwater/environment",
	"/usr/bin/breakwater",
	"/usr/lib/systemd/system/breakwater-edge.service",
	"/usr/lib/systemd/system/breakwater-gslb.service",
	"/usr/lib/systemd/system/breakwater-provision.service",
	"/usr/lib/systemd/system/breakwater-provision.timer",
	"/usr/lib/sysusers.d/breakwater.conf",
	"/usr/share/bash-completion/completions/breakwater",
	"/usr/share/doc/breakwater/CHANGELOG.md",
	"/usr/share/doc/breakwater/README.md",
	"/usr/share/doc/breakwater/copyright",
	"/usr/share/doc/breakwater/fleet.example.yaml",
	"/usr/share/fish/vendor_completions.d/breakwater.fish",
	zshOfDebian,
}

// Where zsh looks for completions that packages have: Debian's, and that of all others.
const (
	zshOfDebian = "/usr/share/zsh/vendor-completions/_breakwater"
	zshOfOthers = "/usr/share/zsh/site-functions/_breakwater"
)

// alike: .deb and .rpm have the paths that they should have, a manual page of each command,
// and no others.
func alike(t *testing.T, dist string) {
	rpm := trial.Client(t, "rpm")
	trial.Client(t, "dpkg-deb")
	want := slices.Clone(packaged)
	for _, page := range manuals(t) {
		want = append(want, "/usr/share/man/man1/"+page)
	}
	slices.Sort(want)
	list := func(script, file string) (all []string) {
		cmd := exec.Command("sh", "-euc", script, file, t.TempDir())
		for line := range strings.Lines(output(t, cmd)) {
			if line = strings.TrimPrefix(strings.TrimSpace(line), "."); !strings.HasSuffix(line, "/") { // no directory
				all = append(all, line)
			}
		}
		return all
	}
	in := map[string][]string{}
	in["deb"] = list(`dpkg-deb --fsys-tarfile "$0" | tar -t`, fileOf(t, dist, "breakwater_*_"+runtime.GOARCH+".deb"))
	in["rpm"] = list(rpm+` --dbpath "$1" -qlp "$0"`, fileOf(t, dist, "breakwater-*."+machineOfRPM()+".rpm"))
	if i := slices.Index(in["rpm"], zshOfOthers); i >= 0 {
		in["rpm"][i] = zshOfDebian
	}
	for kind, have := range in {
		if slices.Sort(have); !slices.Equal(have, want) {
			t.Errorf("the .%s has\n%s\nwant\n%s", kind, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
}

// manuals are the names of the manual pages: one of each command.
func manuals(t *testing.T) (all []string) {
	t.Helper()
	dir := t.TempDir()
	output(t, exec.Command(bin(t, "breakwater"), "man", dir))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	for _, one := range []string{"breakwater.1", "breakwater-edge.1", "breakwater-gslb-explain.1", "breakwater-provision-plan.1"} {
		if !slices.Contains(all, one) {
			t.Fatalf("there is no %s in %q", one, all)
		}
	}
	return all
}

// machineOfRPM is what rpm calls this machine's processor.
func machineOfRPM() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

// unpacked: what rpm says of the .rpm, and that its program runs.
func unpacked(t *testing.T, dist string) {
	rpm, machine := trial.Client(t, "rpm"), machineOfRPM()
	trial.Client(t, "rpm2cpio")
	trial.Client(t, "cpio")
	file := fileOf(t, dist, "breakwater-*."+machine+".rpm")
	query := func(args ...string) string {
		return output(t, exec.Command(rpm, append([]string{"--dbpath", t.TempDir(), "-qp", file}, args...)...))
	}
	if said := query("--qf", "%{NAME} %{ARCH} %{LICENSE} %{OS}\n"); said != "breakwater "+machine+" Apache-2.0 linux\n" {
		t.Error(said)
	}
	if said := query("--configfiles"); said != "/etc/breakwater/environment\n" {
		t.Errorf("an upgrade keeps %s", said)
	}
	if said := query("--scripts"); regexp.MustCompile(`systemctl (enable|start|restart|preset)`).MatchString(said) || !strings.Contains(said, "systemd-sysusers") {
		t.Error(said)
	}
	root := t.TempDir()
	output(t, exec.Command("sh", "-euc", `rpm2cpio "$1" | (cd "$0" && cpio -idm --quiet --no-absolute-filenames)`, root, file))
	run := func(args ...string) string {
		return output(t, exec.Command(filepath.Join(root, "usr/bin/breakwater"), args...))
	}
	if said := run("version"); !strings.HasPrefix(said, "breakwater v") {
		t.Error(said)
	}
	run("check", filepath.Join(root, "usr/share/doc/breakwater/fleet.example.yaml"))
}

// signed: each file has a signature, and an attestation of where it comes from; both hold
// for it and for nothing else, and nobody is asked.
func signed(t *testing.T, tree, dist string) {
	cosign, keys := trial.Client(t, "cosign"), t.TempDir()
	env := append(os.Environ(), "COSIGN_PASSWORD=x", "HTTPS_PROXY=http://127.0.0.1:1", "HOME="+keys)
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = keys, env
		return cmd
	}
	output(t, run(cosign, "generate-key-pair"))
	output(t, run(filepath.Join(tree, "deploy/release/sign.sh"), dist, "cosign.key"))
	provenance := strings.TrimSuffix(fileOf(t, dist, "breakwater_*.intoto.jsonl"), ".jsonl")
	verify := func(file, signature string) *exec.Cmd {
		return run(cosign, "verify-blob", "--key", "cosign.pub", "--bundle", signature, "--insecure-ignore-tlog", file)
	}
	attested := func(file string) *exec.Cmd {
		return run(cosign, "verify-blob-attestation", "--key", "cosign.pub", "--bundle", provenance+".sigstore.json", "--type", "slsaprovenance1", "--insecure-ignore-tlog", file)
	}
	for _, file := range filesOf(t, dist) {
		output(t, verify(file, file+".sigstore.json"))
		if name := filepath.Base(file); name != "SHA256SUMS" && name != filepath.Base(provenance)+".jsonl" {
			output(t, attested(file))
		}
	}
	other := filepath.Join(keys, "other")
	if err := os.WriteFile(other, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, verify(other, filepath.Join(dist, "SHA256SUMS.sigstore.json")))
	fails(t, attested(other))
	text, err := os.ReadFile(provenance + ".jsonl")
	var statement struct {
		Type          string `json:"_type"`
		PredicateType string
		Predicate     struct {
			BuildDefinition struct {
				ResolvedDependencies []struct{ Digest map[string]string }
			}
		}
	}
	if err != nil || json.Unmarshal(text, &statement) != nil || bytes.Count(text, []byte("\n")) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	head := strings.TrimSpace(output(t, exec.Command("git", "-C", tree, "rev-parse", "HEAD")))
	if of := statement.Predicate.BuildDefinition.ResolvedDependencies; statement.Type != "https://in-toto.io/Statement/v1" || statement.PredicateType != "https://slsa.dev/provenance/v1" || len(of) != 1 || of[0].Digest["gitCommit"] != head {
		t.Errorf("%s", text)
	}
}

// filesOf are the files of a release, but for their signatures.
func filesOf(t *testing.T, dist string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasSuffix(e.Name(), ".sigstore.json") {
			all = append(all, filepath.Join(dist, e.Name()))
		}
	}
	return all
}
