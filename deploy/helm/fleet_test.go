package helm_test

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/trial"
)

// What the chart reads out of a fleet file is what the program does, defaults included.
func TestChartFollowsTheFleetFile(t *testing.T) {
	const gslb = "gslb.enabled=true,fleet.gslb.ttl=30s,fleet.datacenters.par1.addresses={192.0.2.10},fleet.datacenters.par1.gslb={192.0.2.53}"
	for name, args := range map[string][]string{
		"minimal":    {"--values", "testdata/minimal.yaml", "--set", gslb},
		"production": renderings[1].values(),
		"gateway":    renderings[2].values(),
		// The file that is in the repository as the example of everything. Its geographic database and DNSSEC key come by volumes.
		"example": {"--set-file", "fleetFile=testdata/fleet.example.yaml", "--set", strings.Join([]string{"datacenter=par1", "gslb.enabled=true", "edge.tls.secretName=x",
			"secrets[0].name=token", `secrets[0].files.\/etc\/breakwater\/harbor-token\.crt=tls.crt`}, ",")},
		"name servers that ask each other": {"--values", "testdata/minimal.yaml", "--set", gslb + ",fleet.gslb.key=env:K,env[0].name=K,env[0].secret=k,env[0].key=k,fleet.gslb.peers=:7000"},
		"name servers that do not":         {"--values", "testdata/minimal.yaml", "--set", gslb + ",fleet.gslb.key=env:K,env[0].name=K,env[0].secret=k,env[0].key=k,fleet.gslb.peers=off"},
		"plain HTTP":                       {"--values", "testdata/minimal.yaml", "--set", "fleet.edge.tls=null,fleet.edge.plain_http=true,edge.tls.secretName="},
		"sizes of its own":                 {"--values", "testdata/minimal.yaml", "--set", "fleet.edge.store.size=1.5TB"},
	} {
		t.Run(name, func(t *testing.T) {
			rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", args...)
			if err != nil {
				t.Fatal(err)
			}
			all := decode(t, rendered)
			f := fleetOf(t, all)
			for _, o := range all {
				pod := o.pod()
				if pod == nil {
					continue
				}
				switch pod.Spec.Containers[0].Name {
				case "edge":
					checkEdgePod(t, o, f)
				case "gslb":
					ports := map[string]string{"dns-udp": f.GSLB.Listen, "dns-tcp": f.GSLB.Listen, "metrics": f.GSLB.Metrics}
					if f.GSLB.Key != (fleet.Ref{}) && *f.GSLB.Peers != "" {
						ports["peers"] = *f.GSLB.Peers
					}
					checkPorts(t, pod, ports)
					if _, asked := ports["peers"]; asked != slices.Contains(pod.Spec.Containers[0].Args, "--siblings") {
						t.Errorf("%v: pods that can be asked from elsewhere know each other, and others need not", pod.Spec.Containers[0].Args)
					}
					checkMounted(t, pod, filepath.Dir(f.GSLB.State))
				}
				wantToken := f.Secrets.Vault.Login.Kubernetes != nil
				if *pod.Spec.AutomountServiceAccountToken != wantToken {
					t.Errorf("%s: the service account's token is mounted: %v, want %v", o.GetName(), !wantToken, wantToken)
				}
				if flag := slices.Index(pod.Spec.Containers[0].Args, "--datacenter"); flag > 0 && f.Datacenters[pod.Spec.Containers[0].Args[flag+1]] == nil {
					t.Errorf("%s runs in a datacenter that is not in the fleet file", o.GetName())
				}
			}
		})
	}
}

func checkEdgePod(t *testing.T, o object, f *fleet.Fleet) {
	t.Helper()
	pod := o.pod()
	checkPorts(t, pod, map[string]string{"public": f.Edge.Listen, "metrics": f.Edge.Metrics})
	checkMounted(t, pod, f.Edge.Store.Path)
	wantScheme := core.URISchemeHTTPS
	if f.Edge.PlainHTTP {
		wantScheme = core.URISchemeHTTP
	} else {
		for _, file := range []string{f.Edge.TLS.Certificate, f.Edge.TLS.Key} {
			checkProjected(t, pod, file)
		}
	}
	if got := pod.Spec.Containers[0].LivenessProbe.HTTPGet.Scheme; got != wantScheme {
		t.Errorf("the kubelet asks by %s, want %s", got, wantScheme)
	}
	for _, certificate := range f.Harbor.TokenCertificates {
		checkProjected(t, pod, certificate.Path)
	}
	room := resource.MustParse("0")
	if s := o.of.(*apps.StatefulSet); len(s.Spec.VolumeClaimTemplates) > 0 {
		room = s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[core.ResourceStorage]
	} else if at := slices.IndexFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == "store" }); at >= 0 {
		room = *pod.Spec.Volumes[at].EmptyDir.SizeLimit
	}
	// The store and 15 % more, in whole Gi.
	if least, most := int64(f.Edge.Store.Size)/100*114, int64(f.Edge.Store.Size)/100*116+1<<30; room.Value() < least || room.Value() > most {
		t.Errorf("a volume of %s for a store of %d bytes", room.String(), f.Edge.Store.Size)
	}
}

func checkPorts(t *testing.T, pod *core.PodTemplateSpec, want map[string]string) {
	t.Helper()
	low := false
	for name, listen := range want {
		_, port, err := net.SplitHostPort(listen)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(pod.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == name })
		if at < 0 {
			t.Errorf("there is no port %s", name)
			continue
		}
		got := pod.Spec.Containers[0].Ports[at].ContainerPort
		if strconv.Itoa(int(got)) != port {
			t.Errorf("port %s is %d, and the program listens on %s", name, got, listen)
		}
		low = low || got < 1024
	}
	if allowed := len(pod.Spec.SecurityContext.Sysctls) > 0; allowed != low {
		t.Errorf("ports below 1024 are allowed: %v, want %v", allowed, low)
	}
}

func checkMounted(t *testing.T, pod *core.PodTemplateSpec, path string) {
	t.Helper()
	if !slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == path && !m.ReadOnly }) {
		t.Errorf("%s has no volume that can be written", path)
	}
}

// checkProjected reports a file below /etc/breakwater that nothing puts there.
func checkProjected(t *testing.T, pod *core.PodTemplateSpec, file string) {
	t.Helper()
	for _, source := range pod.Spec.Volumes[0].Projected.Sources {
		if source.Secret != nil && slices.ContainsFunc(source.Secret.Items, func(i core.KeyToPath) bool { return "/etc/breakwater/"+i.Path == file }) {
			return
		}
	}
	t.Errorf("nothing puts %s there", file)
}

// A pod leaves in the order that the program is made for: health says so, the drain passes, SIGTERM, what is in flight.
func TestChartLetsPodsFinish(t *testing.T) {
	rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/minimal.yaml", "--set", "edge.drainSeconds=90")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range decode(t, rendered) {
		pod := o.pod()
		if pod == nil {
			continue
		}
		edge := pod.Spec.Containers[0]
		if got, want := strings.Join(edge.Lifecycle.PreStop.Exec.Command, " "), "/breakwater edge drain --config /etc/breakwater/fleet.yaml --wait 90s"; got != want {
			t.Errorf("before the end %q runs, want %q", got, want)
		}
		if got, want := strings.Join(edge.Args, " "), "edge --config /etc/breakwater/fleet.yaml --datacenter par1 --drain 0s"; got != want {
			t.Errorf("the edge is %q, want %q", got, want)
		}
		if got := *pod.Spec.TerminationGracePeriodSeconds; got < 90+30+5 {
			t.Errorf("the pod has %d seconds: the drain takes 90, what is in flight 30", got)
		}
		return
	}
	t.Fatal("there are no pods")
}

// Another fleet file is no new pods: edges and name servers read it again, and roll for what they read at their start alone.
func TestChartRollsForWhatIsReadAtTheStart(t *testing.T) {
	pods := func(set string) map[string]string {
		rendered, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", "--values", "testdata/gateway.yaml", "--set", set)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, o := range decode(t, rendered) {
			if pod := o.pod(); pod != nil {
				all[pod.Spec.Containers[0].Name] = pod.String()
			}
		}
		return all
	}
	before := pods("fleet.gslb.ttl=60s")
	for set, want := range map[string]map[string]bool{ // by container: another pod
		"fleet.gslb.ttl=61s":              {"edge": false, "gslb": false, "provision": false},
		"fleet.gslb.rate_limit=9":         {"edge": false, "gslb": true, "provision": false},
		"fleet.gslb.metrics=:9999":        {"edge": false, "gslb": true, "provision": false},
		"fleet.edge.outage_grace=2h":      {"edge": false, "gslb": false, "provision": false},
		"fleet.edge.console.listen=:9443": {"edge": true, "gslb": false, "provision": false},
		"fleet.edge.metrics=:9999":        {"edge": true, "gslb": false, "provision": false},
		"fleet.edge.store.size=7GiB":      {"edge": true, "gslb": false, "provision": false},
		"gslb.podAnnotations.x=y":         {"edge": false, "gslb": true, "provision": false},
		"edge.service.annotations.x=y":    {"edge": false, "gslb": false, "provision": false},
		"image.tag=1.2.3":                 {"edge": true, "gslb": true, "provision": true},
	} {
		after := pods(set)
		for container, rolls := range want {
			if got := before[container] != after[container]; got != rolls {
				t.Errorf("%s: another %s: %v, want %v", set, container, got, rolls)
			}
		}
	}
}
