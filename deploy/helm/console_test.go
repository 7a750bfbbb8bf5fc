package helm_test

import (
	"slices"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"

	"example.org/breakwater/internal/trial"
)

// rendersWith is what the least values and these render.
func rendersWith(t *testing.T, set string) []object {
	t.Helper()
	out, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/minimal.yaml", "--set", set)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

// The console is reached by a Service of its own, by no other, and only where the fleet file has a listener for it.
func TestChartHasAConsole(t *testing.T) {
	const policy = "networkPolicy.enabled=true,networkPolicy.operators[0].ipBlock.cidr=10.9.0.0/16,"
	for listen, want := range map[string]bool{"": false, "null": false, "127.0.0.1:9443": false, ":9443": true, "0.0.0.0:443": true} {
		services, rules, low := 0, 0, false
		for _, o := range rendersWith(t, policy+"fleet.edge.listen=:8443,edge.console.port=9000,fleet.edge.console.listen="+listen) {
			switch of := o.of.(type) {
			case *core.Service:
				for _, port := range of.Spec.Ports {
					if port.TargetPort.String() != "console" {
						continue
					}
					services++
					if of.Name != "bw-breakwater-edge-console" || len(of.Spec.Ports) != 1 || port.Port != 9000 || of.Spec.Type != core.ServiceTypeClusterIP || of.Spec.SessionAffinity != core.ServiceAffinityClientIP {
						t.Errorf("%s: %v", listen, of)
					}
				}
			case *networking.NetworkPolicy:
				for _, rule := range of.Spec.Ingress {
					if rule.Ports[0].Port.String() == "console" && len(rule.From) == 1 && rule.From[0].IPBlock.CIDR == "10.9.0.0/16" {
						rules++
					}
				}
			case *apps.StatefulSet:
				low = len(of.Spec.Template.Spec.SecurityContext.Sysctls) > 0
				if has := slices.ContainsFunc(of.Spec.Template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == "console" }); has != want {
					t.Errorf("%s: pods have a port for it: %v", listen, has)
				}
			}
		}
		if (services == 1) != want || (rules == 1) != want || low != (listen == "0.0.0.0:443") {
			t.Errorf("%s: %d Services, %d rules, low ports %v", listen, services, rules, low)
		}
	}
}

// What provision keeps is on a volume that its pods write, edges read, and nobody else has.
func TestChartSharesWhatProvisionKeeps(t *testing.T) {
	const all = "provision.job.enabled=true,provision.cronJob.enabled=true,preflight.enabled=true,gslb.enabled=true,fleet.gslb.ttl=30s,fleet.edge.changes=/var/lib/breakwater-changes/last.json"
	for claim, want := range map[string]bool{"": false, ",changes.claim=shared": true} {
		seen := map[string]bool{}
		for _, o := range rendersWith(t, all+claim) {
			pod := o.pod()
			if cron, ok := o.of.(*batch.CronJob); ok {
				pod = &cron.Spec.JobTemplate.Spec.Template
			}
			if pod == nil {
				continue
			}
			name := o.kind + " " + o.GetName()
			mounted := slices.IndexFunc(pod.Spec.Containers[0].VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == "/var/lib/breakwater-changes" })
			if mounted < 0 {
				continue
			}
			seen[name] = true
			mount := pod.Spec.Containers[0].VolumeMounts[mounted]
			volume := slices.IndexFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == mount.Name })
			if volume < 0 || pod.Spec.Volumes[volume].PersistentVolumeClaim.ClaimName != "shared" || mount.ReadOnly != (o.kind == "StatefulSet") || *pod.Spec.SecurityContext.FSGroup != 65532 {
				t.Errorf("%s: %v", name, mount)
			}
		}
		if has := seen["StatefulSet bw-breakwater-edge"] && seen["Job bw-breakwater-provision"] && seen["CronJob bw-breakwater-provision"]; has != want || len(seen) != map[bool]int{true: 3}[want] {
			t.Errorf("with %q it is mounted in %v", claim, seen)
		}
	}
}
