package helm_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	security "k8s.io/pod-security-admission/api"
	securitypolicy "k8s.io/pod-security-admission/policy"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/trial"
)

// object is one rendered document, as Kubernetes has it.
type object struct {
	meta.Object
	kind string
	of   runtime.Object
}

// decode reads every document into the types of its own API; a field that they do not have is an error.
func decode(t *testing.T, rendered string) (all []object) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, autoscaling.AddToScheme, batch.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme,
		certmanager.AddToScheme, gateway.Install, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(rendered)))
	defer documents.Close()
	for {
		document := make([]byte, 1<<20)
		n, err := documents.Read(document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if document = document[:n]; onlyComments(document) {
			continue
		}
		of, kind, err := strict.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		all = append(all, object{of.(meta.Object), kind.Kind, of})
	}
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

// pod is the template of the pods that an object makes; nil for other objects.
func (o object) pod() *core.PodTemplateSpec {
	switch of := o.of.(type) {
	case *apps.Deployment:
		return &of.Spec.Template
	case *apps.StatefulSet:
		return &of.Spec.Template
	case *batch.Job:
		return &of.Spec.Template
	case *batch.CronJob:
		return &of.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// selects reports whether any of the pods has the labels, and the port that is named where one is.
func selects(all []object, want map[string]string, port string) bool {
	return slices.ContainsFunc(all, func(o object) bool {
		pod := o.pod()
		if pod == nil || !labels.SelectorFromSet(want).Matches(labels.Set(pod.Labels)) {
			return false
		}
		return port == "" || slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return p.Name == port })
	})
}

func has(all []object, kind, name string) bool {
	return slices.ContainsFunc(all, func(o object) bool { return o.kind == kind && o.GetName() == name })
}

// eachRendering gives the objects of all sets of values to a test.
func eachRendering(t *testing.T, test func(t *testing.T, all []object)) {
	t.Helper()
	for _, r := range renderings {
		t.Run(r.name, func(t *testing.T) {
			rendered, err := render(t, trial.Client(t, "helm"), r.chart, r.release, r.values()...)
			if err != nil {
				t.Fatal(err)
			}
			all := decode(t, rendered)
			if len(all) == 0 {
				t.Fatal("nothing is rendered")
			}
			test(t, all)
		})
	}
}

func TestChartsAreWhatKubernetesKnows(t *testing.T) {
	eachRendering(t, func(t *testing.T, all []object) {
		seen := map[string]bool{}
		for _, o := range all {
			if id := o.kind + " " + o.GetName(); seen[id] {
				t.Errorf("%s is there twice", id)
			} else {
				seen[id] = true
			}
			// Services and labels take no more.
			if n := len(o.GetName()); n > 63 {
				t.Errorf("%s %s: the name has %d characters", o.kind, o.GetName(), n)
			}
			if o.GetNamespace() != "registry" {
				t.Errorf("%s %s is in namespace %q, not the release's", o.kind, o.GetName(), o.GetNamespace())
			}
		}
	})
}

// Names stay within what Kubernetes takes, also where pods and Jobs are named after them.
func TestChartCutsNames(t *testing.T) {
	release := "a-release-whose-name-is-as-long-as-helm-takes-one-xyz" // 53
	rendered, err := render(t, trial.Client(t, "helm"), "breakwater", release, "--values", "testdata/gateway.yaml",
		"--set", "fullnameOverride=,provision.cronJob.enabled=true,edge.tls.secretName=,serviceAccount.create=true")
	if err != nil {
		t.Fatal(err)
	}
	longest := map[string]int{"CronJob": 52, "StatefulSet": 52} // its Jobs and its pods' labels have 11 more
	for _, o := range decode(t, rendered) {
		most := 63
		if less, ok := longest[o.kind]; ok {
			most = less
		}
		if n := len(o.GetName()); n > most || strings.HasSuffix(o.GetName(), "-") {
			t.Errorf("%s %s: %d characters, %d at most", o.kind, o.GetName(), n, most)
		}
	}
}

// Kubernetes does not say so where a name leads nowhere.
func TestChartsHangTogether(t *testing.T) {
	eachRendering(t, func(t *testing.T, all []object) {
		for _, o := range all {
			if pod := o.pod(); pod != nil {
				checkVolumes(t, o, all)
			}
			switch of := o.of.(type) {
			case *apps.StatefulSet:
				if !has(all, "Service", of.Spec.ServiceName) {
					t.Errorf("%s: there is no Service %s", o.GetName(), of.Spec.ServiceName)
				}
			case *core.Service:
				for _, port := range of.Spec.Ports {
					if !selects(all, of.Spec.Selector, port.TargetPort.String()) {
						t.Errorf("Service %s: no pod has port %s", o.GetName(), port.TargetPort.String())
					}
				}
			case *policy.PodDisruptionBudget:
				if o.GetLabels()["app.kubernetes.io/name"] == "breakwater" && !selects(all, of.Spec.Selector.MatchLabels, "") {
					t.Errorf("PodDisruptionBudget %s is of no pod", o.GetName())
				}
			case *autoscaling.HorizontalPodAutoscaler:
				target := of.Spec.ScaleTargetRef
				if o.GetLabels()["app.kubernetes.io/name"] == "breakwater" && !has(all, target.Kind, target.Name) {
					t.Errorf("HorizontalPodAutoscaler %s: there is no %s %s", o.GetName(), target.Kind, target.Name)
				}
			case *networking.NetworkPolicy:
				for _, rule := range of.Spec.Ingress {
					for _, port := range rule.Ports {
						if !selects(all, of.Spec.PodSelector.MatchLabels, port.Port.String()) {
							t.Errorf("NetworkPolicy %s: no pod has port %s", o.GetName(), port.Port.String())
						}
					}
				}
			case *networking.Ingress:
				if !has(all, "Service", of.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name) {
					t.Errorf("Ingress %s leads to no Service", o.GetName())
				}
			case *gateway.HTTPRoute:
				if !has(all, "Service", string(of.Spec.Rules[0].BackendRefs[0].Name)) {
					t.Errorf("HTTPRoute %s leads to no Service", o.GetName())
				}
			case *monitoring.ServiceMonitor:
				checkMonitor(t, of, all)
			}
		}
	})
}

// checkVolumes reports mounts without a volume, volumes without a mount, and what they are made of that is not there.
func checkVolumes(t *testing.T, o object, all []object) {
	t.Helper()
	pod := o.pod()
	volumes := map[string]bool{} // by name: mounted
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = false
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			// One of another name is somebody else's (fleetConfigMap).
			if source.ConfigMap != nil && strings.HasSuffix(source.ConfigMap.Name, "-fleet") && !has(all, "ConfigMap", source.ConfigMap.Name) {
				t.Errorf("%s %s: there is no ConfigMap %s", o.kind, o.GetName(), source.ConfigMap.Name)
			}
		}
	}
	if s, ok := o.of.(*apps.StatefulSet); ok {
		for _, claim := range s.Spec.VolumeClaimTemplates {
			volumes[claim.Name] = false
		}
	}
	paths := map[string]bool{}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		if _, ok := volumes[mount.Name]; !ok {
			t.Errorf("%s %s: there is no volume %s", o.kind, o.GetName(), mount.Name)
		}
		if volumes[mount.Name] = true; paths[mount.MountPath] {
			t.Errorf("%s %s: two volumes at %s", o.kind, o.GetName(), mount.MountPath)
		}
		paths[mount.MountPath] = true
	}
	for name, mounted := range volumes {
		if !mounted {
			t.Errorf("%s %s: volume %s is mounted nowhere", o.kind, o.GetName(), name)
		}
	}
}

func checkMonitor(t *testing.T, m *monitoring.ServiceMonitor, all []object) {
	t.Helper()
	found := 0
	for _, o := range all {
		service, ok := o.of.(*core.Service)
		if !ok || !labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
			continue
		}
		found++
		if service.Spec.Ports[0].Name != m.Spec.Endpoints[0].Port {
			t.Errorf("ServiceMonitor %s: Service %s has no port %s", m.Name, service.Name, m.Spec.Endpoints[0].Port)
		}
	}
	if found != 1 { // two would count every pod twice
		t.Errorf("ServiceMonitor %s is of %d Services, not of one", m.Name, found)
	}
}

// All pods may run where Kubernetes enforces its strictest standard, by its own judgement.
func TestChartsPodsAreRestricted(t *testing.T) {
	judge, err := securitypolicy.NewEvaluator(securitypolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	eachRendering(t, func(t *testing.T, all []object) {
		for _, o := range all {
			pod := o.pod()
			if pod == nil {
				continue
			}
			for _, result := range judge.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s %s: %s: %s", o.kind, o.GetName(), result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			for _, c := range pod.Spec.Containers {
				if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%s %s: %s can write into its image", o.kind, o.GetName(), c.Name)
				}
				if _, ok := c.Resources.Requests[core.ResourceCPU]; !ok {
					t.Errorf("%s %s: %s requests no CPU", o.kind, o.GetName(), c.Name)
				}
			}
		}
	})
}

// fleetOf loads the fleet file that a release mounts, as the program does.
func fleetOf(t *testing.T, all []object) *fleet.Fleet {
	t.Helper()
	for _, o := range all {
		if c, ok := o.of.(*core.ConfigMap); ok {
			f, err := fleet.Load(c.Name+"/fleet.yaml", []byte(c.Data["fleet.yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatal("there is no ConfigMap")
	return nil
}
