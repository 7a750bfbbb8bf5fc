package helm_test

import (
	"slices"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"

	"example.org/breakwater/internal/trial"
)

// What the pods will need is tried by hooks, which need nothing that the release itself
// makes: at an install that is not there yet.
func TestChartTriesBeforeItChanges(t *testing.T) {
	production := []string{"--values", "testdata/production.yaml", "--set-file", "fleetFile=testdata/production.fleet.yaml", "--set", "preflight.enabled=true"}
	for _, c := range []struct {
		name    string
		args    []string
		jobs    int
		account string
		skips   string
		secrets int
	}{
		{"an install", []string{"--values", "testdata/minimal.yaml", "--set", "preflight.enabled=true"}, 1, "default", "", 1},
		{"an upgrade", []string{"--values", "testdata/minimal.yaml", "--set", "preflight.enabled=true", "--is-upgrade"}, 1, "breakwater", "", 1},
		{"an install with a certificate that is made", []string{"--values", "testdata/minimal.yaml", "--set", "preflight.enabled=true,edge.tls.secretName=,edge.tls.certManager.enabled=true,edge.tls.certManager.issuerRef.name=x"}, 1, "default", "certificate", 0},
		{"an install with an account that logs in to Vault", production, 0, "", "", 0},
		{"an upgrade with it", append(slices.Clone(production), "--is-upgrade"), 2, "breakwater", "", 1},
		{"nobody asked", []string{"--values", "testdata/minimal.yaml"}, 0, "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "breakwater", c.args...)
			if err != nil {
				t.Fatal(err)
			}
			jobs := 0
			all := decode(t, rendered)
			for _, o := range all {
				job, ok := o.of.(*batch.Job)
				if !ok || o.GetLabels()["app.kubernetes.io/component"] != "preflight" {
					continue
				}
				jobs++
				pod := job.Spec.Template.Spec
				if hook := o.GetAnnotations()["helm.sh/hook"]; hook != "pre-install,pre-upgrade" {
					t.Errorf("%s is a hook of %q", o.GetName(), hook)
				}
				if pod.ServiceAccountName != c.account {
					t.Errorf("%s runs as %s, want %s", o.GetName(), pod.ServiceAccountName, c.account)
				}
				checkPreflight(t, o, all, c.skips, c.secrets)
			}
			if jobs != c.jobs {
				t.Errorf("%d jobs, want %d", jobs, c.jobs)
			}
		})
	}
}

// checkPreflight wants a hook to read the hook's own fleet file, and of an edge the
// certificate where that is there already.
func checkPreflight(t *testing.T, o object, all []object, skips string, secrets int) {
	t.Helper()
	pod := o.pod().Spec
	args := strings.Join(pod.Containers[0].Args, " ")
	if !strings.HasPrefix(args, "doctor --config /etc/breakwater/fleet.yaml --datacenter par1 --for ") || !strings.Contains(args, "--warnings-ok --skip store,ports,machine,gslb.state,peer,upstream,delegation") {
		t.Errorf("%s runs %s", o.GetName(), args)
	}
	if got := strings.HasSuffix(args, ",certificate"); got != (skips == "certificate") {
		t.Errorf("%s leaves out the certificate: %t", o.GetName(), got)
	}
	found, own := 0, false
	for _, source := range pod.Volumes[0].Projected.Sources {
		if source.ConfigMap != nil {
			own = source.ConfigMap.Name == "breakwater-preflight" && has(all, "ConfigMap", "breakwater-preflight")
		}
		if source.Secret != nil && slices.ContainsFunc(source.Secret.Items, func(i core.KeyToPath) bool { return i.Path == "tls/tls.crt" || i.Path == "tls.crt" }) {
			found++
		}
	}
	if !own {
		t.Errorf("%s does not read a fleet file that is there before the release", o.GetName())
	}
	if strings.HasSuffix(o.GetName(), "-edge") && found != secrets {
		t.Errorf("%s has %d certificates, want %d", o.GetName(), found, secrets)
	}
}
