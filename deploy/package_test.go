package deploy_test

import (
	"os"
	"os/exec"
	"testing"

	"example.org/breakwater/internal/trial"
)

// TestPackagesLeaveTheAdministratorsModes: the first installation makes the directories for
// secrets, those of provision out of the daemons' reach; an upgrade changes nothing there.
func TestPackagesLeaveTheAdministratorsModes(t *testing.T) {
	if os.Getuid() != 0 {
		trial.Missing(t, "root, who installs packages")
	}
	trial.Client(t, "unshare")
	trial.Client(t, "systemd-sysusers")
	const see = `cd /etc/breakwater; stat -c %n:%U:%G:%a . secrets provision environment; `
	const made = ".:root:breakwater:2750\nsecrets:root:breakwater:2750\nprovision:root:breakwater-provision:2750\nenvironment:root:breakwater:640\n"
	const change = `chgrp root /etc/breakwater/secrets /etc/breakwater/environment; chmod 0700 /etc/breakwater/secrets /etc/breakwater/provision; chmod 0755 /etc/breakwater; `
	const changed = ".:root:breakwater:2755\nsecrets:root:root:2700\nprovision:root:breakwater-provision:2700\nenvironment:root:root:640\n"
	// dpkg and rpm have made the directory of the environment file before.
	const unpacked = `rm -rf /etc/breakwater; install -D -m 640 "$1/release/package/environment" /etc/breakwater/environment; `
	for name, c := range map[string]struct{ args, after string }{
		"deb": {"configure ''", "configure 0.1.0-1"},
		"rpm": {"1", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			run := `sh "$1/release/package/postinst" `
			for _, s := range []struct{ script, want string }{
				{unpacked + run + c.args + "; " + see, made},
				{unpacked + run + c.args + "; " + change + run + c.after + "; " + see, changed},
				{unpacked + run + c.args + "; rm -r /etc/breakwater/*; " + run + c.after + "; ls /etc/breakwater", ""},
			} {
				if got := inAnEtcOfItsOwn(t, s.script); got != s.want {
					t.Errorf("%s leaves\n%s, want\n%s", s.script, got, s.want)
				}
			}
		})
	}
}

// inAnEtcOfItsOwn runs a script as root with a copy of /etc that ends with it, in which there
// are this project's groups to be. $1 is deploy.
func inAnEtcOfItsOwn(t *testing.T, script string) string {
	t.Helper()
	const enter = `cp -a /etc/. "$0"; mount --bind "$0" /etc; install -D -m 644 "$1/systemd/breakwater.sysusers" /etc/sysusers.d/breakwater.conf; `
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "--mount", "sh", "-euc", enter+script, t.TempDir(), dir).Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}
