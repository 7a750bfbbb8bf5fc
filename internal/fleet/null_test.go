package fleet

import "testing"

// TestAKeyWithoutAValueIsTheDefault: a value that is deleted, or ~, is none; it is not zero.
func TestAKeyWithoutAValueIsTheDefault(t *testing.T) {
	for _, nothing := range []string{"", "~", "null"} {
		f, err := Load("fleet.yaml", []byte(`domain: harbor.example.org
version: `+nothing+`
datacenters:
  par1:
    harbor: "https://harbor.par1.example.org"
    addresses: [192.0.2.1]
    gslb: [192.0.2.53]
    weight: `+nothing+`
edge:
  plain_http: true
  outage_grace: `+nothing+`
  freshness:
    cache: `+nothing+`
gslb:
  peers: `+nothing+`
  ttl: `+nothing+`
projects:
  multi-dc:
    app:
      webhooks: `+nothing+`
      retention: `+nothing+`
harbor:
  gc: `+nothing+`
  oidc: `+nothing+`
`))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Edge.OutageGrace.String(); got != "1h" {
			t.Errorf("%q: outage_grace is %s", nothing, got)
		}
		if got := f.Edge.Freshness.Cache.String(); got != "1m" {
			t.Errorf("%q: freshness.cache is %s", nothing, got)
		}
		if *f.GSLB.Peers != ":9094" || f.GSLB.TTL.String() != "30s" || *f.Datacenters["par1"].Weight != 1 {
			t.Errorf("%q: peers %q, ttl %s, weight %d", nothing, *f.GSLB.Peers, f.GSLB.TTL, *f.Datacenters["par1"].Weight)
		}
		if !*f.Projects.MultiDC.Items["app"].Webhooks {
			t.Errorf("%q: there are no webhooks", nothing)
		}
		if f.Harbor.GC != nil || f.Harbor.OIDC != nil || f.Projects.MultiDC.Items["app"].Retention.MostRecentlyPulled != 10 {
			t.Errorf("%q: a block without a value is there", nothing)
		}
	}
	f, err := Load("fleet.yaml", []byte("domain: harbor.example.org\ndatacenters: { par1: { harbor: \"https://harbor.par1.example.org\" } }\ngslb:\n"))
	if err != nil || f.GSLB != nil {
		t.Errorf("gslb without a value: %v, %v; it is absent, and {} is all defaults", f.GSLB, err)
	}
}
