package helm_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/trial"
)

// Values that render and would not work, or say nothing that the chart knows, end in a sentence.
func TestChartRefusesMistakes(t *testing.T) {
	set := func(values ...string) []string { return []string{"--set", strings.Join(values, ",")} }
	const plain = "fleet.edge.tls=null,fleet.edge.plain_http=true,edge.tls.secretName="
	for name, c := range map[string]struct {
		args []string // beside testdata/minimal.yaml
		want string
	}{
		"another datacenter":         {set("datacenter=mad1"), `datacenter: there is no datacenter "mad1" in the fleet file; it has par1`},
		"no datacenter":              {set("datacenter="), "datacenter: it is missing; say which of the fleet file's this is: par1"},
		"no fleet":                   {set("fleet=null"), "fleet: there is no fleet file; give it with --set-file fleetFile=fleet.yaml"},
		"two fleets":                 {set("fleetFile=domain: x"), "fleetFile: there is fleet or fleetConfigMap too"},
		"a fleet that is no YAML":    {set("fleet=null", "fleetFile=}"), "fleetFile: it is no YAML"},
		"a fleet without domain":     {set("fleet.domain=null"), "at '/fleet/domain'"},
		"a fleet without places":     {set("fleet.datacenters=null"), "at '/fleet/datacenters'"},
		"an unknown value":           {set("edge.replica=3"), "additional properties 'replica' not allowed"},
		"a value of another kind":    {set("edge.replicas=many"), "at '/edge/replicas'"},
		"a password as a value":      {set("secrets[0].name=x", "secrets[0].password=y"), "additional properties 'password' not allowed"},
		"failover sorted by Helm":    {set("fleet.datacenters.mad1.harbor=https://b", "fleet.gslb.method=failover"), "fleet.gslb.order: it is missing; with method failover"},
		"no certificate":             {set("fleet.edge=null"), "fleet.edge.tls: there is no certificate and the edge would not start"},
		"nobody gives a certificate": {set("edge.tls.secretName="), "edge.tls: the fleet file's edge.tls names /etc/breakwater/tls.crt, and nothing puts it there"},
		"certificates from two":      {set("edge.tls.certManager.enabled=true", "edge.tls.certManager.issuerRef.name=x"), "keep one of the two"},
		"no issuer":                  {set("edge.tls.secretName=", "edge.tls.certManager.enabled=true"), "edge.tls.certManager.issuerRef: it is missing"},
		"a certificate elsewhere":    {set("fleet.edge.tls.certificate=/tls/a", "fleet.edge.tls.key=/tls/b"), "the chart puts the certificate below /etc/breakwater"},
		"a certificate for nothing":  {set(plain, "edge.tls.secretName=x"), "the edge has no use for a certificate"},
		"an Ingress before TLS":      {set("edge.ingress.enabled=true"), "edge.ingress.enabled: the edge terminates TLS itself"},
		"an HTTPRoute before TLS":    {set("edge.httpRoute.enabled=true"), "edge.httpRoute.enabled: the edge terminates TLS itself"},
		"an HTTPRoute of no Gateway": {set(plain, "edge.httpRoute.enabled=true"), "edge.httpRoute.parentRefs: it is missing"},
		"an Ingress for no name":     {set(plain, "fleet.domain=null", "fleetConfigMap=x", "edge.ingress.enabled=true"), "edge.hosts: the domain stands in a ConfigMap"},
		"an edge on loopback":        {set("fleet.edge.listen=127.0.0.1:443"), "fleet.edge.listen: 127.0.0.1:443 cannot be reached from outside of the pod; write :443"},
		"metrics on loopback":        {set("fleet.edge.metrics=localhost:9090"), "fleet.edge.metrics: localhost:9090 cannot be reached"},
		"a port by name":             {set("fleet.edge.listen=:https"), `fleet.edge.listen: ":https" has no port in numbers`},
		"a name server without":      {set("gslb.enabled=true"), "gslb.enabled: the fleet file has no gslb section"},
		"a name server on loopback":  {set("gslb.enabled=true", "fleet.gslb.listen=127.0.0.1:53"), "fleet.gslb.listen: 127.0.0.1:53 cannot be reached"},
		"peers on loopback":          {set("gslb.enabled=true", "fleet.gslb.key=env:K", "fleet.gslb.peers=127.0.0.1:9094"), "fleet.gslb.peers: 127.0.0.1:9094 cannot be reached"},
		"percentages of nothing":     {set("edge.autoscaling.enabled=true", "edge.resources.requests=null"), "edge.autoscaling.cpu: it is per cent of edge.resources.requests.cpu"},
		"scaling by nothing":         {set("edge.autoscaling.enabled=true", "edge.autoscaling.cpu=null"), "edge.autoscaling: there is no metric to scale by"},
		"scaling backwards":          {set("edge.autoscaling.enabled=true", "edge.autoscaling.minReplicas=9"), "edge.autoscaling.minReplicas: 9 is more than maxReplicas, 6"},
		"a secret of no Secret":      {set("fleet.edge.peers.key=file:/etc/breakwater/secrets/peers/key"), "secrets: the fleet file names file:/etc/breakwater/secrets/peers/key for the edge, and no Secret is mounted there"},
		"a Secret for another":       {set("fleet.edge.peers.key=file:/etc/breakwater/secrets/peers/key", "secrets[0].name=peers", "secrets[0].for={gslb}"), "no Secret is mounted there"},
		"a secret of no variable":    {set("fleet.edge.peers.key=env:PEER_KEY"), "env: the fleet file names env:PEER_KEY for the edge, and its pods have no such variable"},
		"provision without password": {set("provision.cronJob.enabled=true", "fleet.harbor.password=file:/etc/breakwater/secrets/admin/password"), "for the provision, and no Secret is mounted there"},
		"a variable of both":         {set("env[0].name=X", "env[0].value=x", "env[0].secret=x", "env[0].key=x"), "at '/env/0'"},
		"files in a Secret's place":  {set("secrets[0].name=tls", "secrets[0].mountPath=/etc/breakwater/tls", "fleet.edge.tls.certificate=/etc/breakwater/tls/tls.crt", "fleet.edge.tls.key=/etc/breakwater/tls/tls.key"), "Kubernetes cannot do both"},
		"a console by a port's name": {set("fleet.edge.console.listen=:console"), `fleet.edge.console.listen: ":console" has no port in numbers`},
		"a console without users":    {set("fleet.edge.console.listen=:9443", "fleet.edge.console.users=/etc/breakwater/console.users"), "the fleet file's edge.console names /etc/breakwater/console.users, and no Secret is mounted there"},
		"a console without a client": {set("fleet.edge.console.listen=:9443", "fleet.edge.console.groups={sre}", "fleet.harbor.oidc.client_secret=env:OIDC"), "env: the fleet file names env:OIDC for the edge"},
		"changes nowhere":            {set("changes.claim=changes"), "changes.claim: the fleet file does not say where"},
		"changes in the store":       {set("changes.claim=changes", "fleet.edge.changes=/var/lib/breakwater/last.json"), "fleet.edge.changes: /var/lib/breakwater/last.json has no directory of its own"},
		"changes beside the file":    {set("changes.claim=changes", "fleet.edge.changes=/etc/breakwater/last.json"), "fleet.edge.changes: /etc/breakwater/last.json has no directory of its own"},
		"a command that is none":     {set("provision.cronJob.command=rotate"), "at '/provision/cronJob/command'"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--values", "testdata/minimal.yaml"}, c.args...)
			out, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", args...)
			if err == nil {
				t.Fatalf("it renders:\n%s", out)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q in\n%v", c.want, err)
			}
		})
	}
}

// What is right beside those mistakes stays so.
func TestChartTakes(t *testing.T) {
	set := func(values ...string) []string { return []string{"--set", strings.Join(values, ",")} }
	for name, args := range map[string][]string{
		"a Secret as a directory": set("fleet.edge.peers.key=file:/etc/breakwater/secrets/peers/key", "secrets[0].name=peers", "secrets[0].for={edge}"),
		"a Secret elsewhere":      set("fleet.edge.peers.key=file:/keys/key", "secrets[0].name=peers", "secrets[0].mountPath=/keys"),
		"a variable":              set("fleet.edge.peers.key=env:PEER_KEY", "env[0].name=PEER_KEY", "env[0].secret=peers", "env[0].key=key"),
		"a certificate by secrets": set("edge.tls.secretName=", "secrets[0].name=tls",
			"fleet.edge.tls.certificate=/etc/breakwater/secrets/tls/tls.crt", "fleet.edge.tls.key=/etc/breakwater/secrets/tls/tls.key"),
		"a volume":                     set("fleet.edge.peers.key=file:/keys/key", "edge.extraVolumes[0].name=k", "edge.extraVolumes[0].emptyDir.medium=Memory", "edge.extraVolumeMounts[0].name=k", "edge.extraVolumeMounts[0].mountPath=/keys"),
		"provision's, not the edge's":  set("fleet.harbor.password=file:/etc/breakwater/secrets/admin/password"),
		"no edge and no certificate":   set("edge.enabled=false", "fleet.edge=null", "edge.tls.secretName="),
		"a console for this machine":   set("fleet.edge.console.listen=127.0.0.1:9443"),
		"a console and who logs in":    set("fleet.edge.console.listen=:9443", "fleet.edge.console.users=/etc/breakwater/console.users", "secrets[0].name=console", "secrets[0].files./etc/breakwater/console\\.users=users", "secrets[0].for={edge}"),
		"a console with edge.tls":      set("fleet.edge.console.listen=:9443", "fleet.edge.console.tls.certificate=/etc/breakwater/tls.crt", "fleet.edge.console.tls.key=/etc/breakwater/tls.key"),
		"changes that are not kept":    set("fleet.edge.changes=/var/lib/breakwater-changes/last.json"),
		"failover in an order":         set("fleet.datacenters.mad1.harbor=https://b", "fleet.gslb.method=failover", "fleet.gslb.order={par1,mad1}"),
		"another's values in a parent": set("global.x=y"),
	} {
		t.Run(name, func(t *testing.T) {
			out, err := render(t, trial.Client(t, "helm"), "breakwater", "bw", append([]string{"--values", "testdata/minimal.yaml"}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			decode(t, out)
		})
	}
}

// The image that is taken where no tag is named is this program's.
func TestChartIsOfThisVersion(t *testing.T) {
	data, err := os.ReadFile("breakwater/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ AppVersion string }
	if err := yaml.Unmarshal(data, &chart); err != nil {
		t.Fatal(err)
	}
	if chart.AppVersion != daemon.Version() {
		t.Errorf("Chart.yaml: appVersion is %q, the program is %q", chart.AppVersion, daemon.Version())
	}
}

// leaves lists a chart's values with their paths, as edge.tls.secretName. A map that
// is a value of its own (by the schema, it may have any keys) is one leaf.
func leaves(path string, value any, schema map[string]any, found map[string]any) {
	properties, owned := schema["properties"].(map[string]any)
	values, isMap := value.(map[string]any)
	if !isMap || !owned {
		found[path] = value
		return
	}
	for key, v := range values {
		at := key
		if path != "" {
			at = path + "." + key
		}
		below, ok := properties[key].(map[string]any)
		if !ok {
			found[at+" (not in the schema)"] = v
			continue
		}
		leaves(at, v, below, found)
	}
}

// strictly reports what the chart owns and would take unknown keys in, or has no value for.
func strictly(t *testing.T, path string, schema map[string]any, value any) {
	t.Helper()
	properties, owned := schema["properties"].(map[string]any)
	if !owned {
		return
	}
	if schema["additionalProperties"] != false {
		t.Errorf("values.schema.json: %s takes keys that it does not know", path)
	}
	values, _ := value.(map[string]any)
	for key, below := range properties {
		v, ok := values[key]
		if !ok && key != "global" {
			t.Errorf("values.schema.json: %s.%s is not in values.yaml", path, key)
		}
		strictly(t, strings.TrimPrefix(path+"."+key, "."), below.(map[string]any), v)
	}
}

// The chart's README, its schema and its values name the same things, with the same defaults.
func TestChartDocumentsItsValues(t *testing.T) {
	var values, schema map[string]any
	for file, into := range map[string]*map[string]any{"values.yaml": &values, "values.schema.json": &schema} {
		data, err := os.ReadFile("breakwater/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	strictly(t, "", schema, values)
	want := map[string]any{}
	leaves("", values, schema, want)

	readme, err := os.ReadFile("breakwater/README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(readme)) {
		cells := strings.SplitN(line, "|", 5)
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		if len(strings.TrimSpace(cells[3])) < 4 {
			t.Errorf("README.md says nothing of %s", cells[1])
		}
		for _, path := range strings.Split(cells[1], ",") {
			documented[strings.Trim(path, " `")] = strings.Trim(cells[2], " `")
		}
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		got, ok := documented[path]
		if !ok {
			t.Errorf("README.md does not name %s", path)
			continue
		}
		text, err := json.Marshal(want[path])
		if err != nil {
			t.Fatal(err)
		}
		// What is long is told in words.
		if short := len(text) <= 40; short && got != string(text) && got != strings.Trim(string(text), `"`) {
			t.Errorf("README.md: %s is %s by default, not %s", path, text, got)
		}
		delete(documented, path)
	}
	for path := range documented {
		t.Errorf("README.md names %s, which is no value", path)
	}
}
