package helm_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	autoscaling "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/yaml"

	"example.org/breakwater/internal/trial"
)

// Names are made as goharbor/harbor-helm makes them: each row was rendered by that chart too (main at 70564d5).
func TestAutoscalingNamesWhatHarborsChartMakes(t *testing.T) {
	for _, c := range []struct{ release, nameOverride, fullnameOverride, want string }{
		{"r1", "", "", "r1-harbor"},
		{"harbor", "", "", "harbor"},
		{"my-harbor-2", "", "", "my-harbor-2"},
		{"r1", "reg", "", "r1-reg"},
		{"reg", "reg", "", "reg"},
		{"harbor", "reg", "", "harbor-reg"},
		{"r1", "", "full", "full"},
		{"r1", "reg", "full", "full"},
		{"r1", "", "a-full-name-that-is-much-longer-than-sixty-three-characters-can-be-x", "a-full-name-that-is-much-longer-than-sixty-three-characters-can"},
		{"r1", "a-name-that-is-much-longer-than-the-sixty-three-characters-that-it-can-be", "", "r1-a-name-that-is-much-longer-than-the-sixty-three-characters-t"},
		{"r1-abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdef", "harbor", "", "r1-abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdef-harbor"},
	} {
		t.Run(strings.Join([]string{c.release, c.nameOverride, c.fullnameOverride}, " "), func(t *testing.T) {
			want := []string{"Deployment/" + c.want + "-core", "Deployment/" + c.want + "-registry", "StatefulSet/" + c.want + "-trivy"}
			overrides := "harbor.nameOverride=" + c.nameOverride + ",harbor.fullnameOverride=" + c.fullnameOverride
			for release, set := range map[string]string{c.release: overrides, "another": overrides + ",harbor.release=" + c.release} {
				rendered, err := render(t, trial.Client(t, "helm"), "harbor-autoscaling", release, "--set", set)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, o := range decode(t, rendered) {
					target := o.of.(*autoscaling.HorizontalPodAutoscaler).Spec.ScaleTargetRef
					got = append(got, target.Kind+"/"+target.Name)
				}
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Errorf("release %s: got %v, want %v", release, got, want)
				}
			}
		})
	}
}

func TestAutoscalingRefusesMistakes(t *testing.T) {
	for set, want := range map[string]string{
		"core.cpu=null":           "core: there is no metric to scale by",
		"registry.minReplicas=20": "registry.minReplicas: 20 is more than maxReplicas, 8",
		"jobservice.enabled=true": "additional properties 'jobservice' not allowed",
	} {
		if _, err := render(t, trial.Client(t, "helm"), "harbor-autoscaling", "harbor", "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

// Harbor's values leave to the autoscalers what is theirs, and hold no secret.
func TestHarborValuesFitTheAutoscalers(t *testing.T) {
	data, err := os.ReadFile("harbor-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	at := func(path string) (value any, there bool) {
		value = values
		for key := range strings.SplitSeq(path, ".") {
			m, _ := value.(map[string]any)
			if value, there = m[key]; !there {
				return nil, false
			}
		}
		return value, true
	}
	for component, requests := range map[string][]string{
		"core": {"core"}, "registry": {"registry.registry", "registry.controller"}, "trivy": {"trivy"},
	} {
		if replicas, there := at(component + ".replicas"); !there || replicas != nil {
			t.Errorf("%s.replicas is %v: each upgrade would set it again; write null", component, replicas)
		}
		for _, container := range requests {
			if _, there := at(container + ".resources.requests.cpu"); !there {
				t.Errorf("%s.resources.requests.cpu is not set: there is no percentage of nothing", container)
			}
		}
	}
	if kind, _ := at("persistence.imageChartStorage.type"); kind != "s3" {
		t.Errorf("persistence.imageChartStorage.type is %v: the registry cannot scale", kind)
	}
	// What the official chart would make up, or has a default of that everybody knows.
	for _, reference := range []string{
		"existingSecretAdminPassword", "existingSecretSecretKey", "core.secretName", "core.existingSecret", "core.existingXsrfSecret", "jobservice.existingSecret", "registry.existingSecret",
		"registry.credentials.existingSecret", "database.external.existingSecret", "redis.external.existingSecret", "persistence.imageChartStorage.s3.existingSecret",
	} {
		if name, _ := at(reference); name == nil || name == "" {
			t.Errorf("%s names no Secret", reference)
		}
	}
}
