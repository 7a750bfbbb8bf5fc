package parent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"
)

const digest = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// example is a zone that is signed, in a case that resolvers do not mind.
func example(t *testing.T) Zone {
	t.Helper()
	ds, err := dns.NewRR("harbor.example.org. 7 IN DS 4711 13 2 " + digest)
	if err != nil {
		t.Fatal(err)
	}
	return Zone{Origin: "Harbor.example.org.", TTL: 5 * time.Minute, DS: []dns.RR{ds}, Servers: map[string][]netip.Addr{
		"ns-par1.harbor.example.org.": {netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
		"ns-mad1.harbor.example.org.": {netip.MustParseAddr("::ffff:198.51.100.53")},
	}}
}

var exampleRecords = []string{
	"harbor.example.org. 300 DS 4711 13 2 " + digest,
	"harbor.example.org. 300 NS ns-mad1.harbor.example.org.",
	"harbor.example.org. 300 NS ns-par1.harbor.example.org.",
	"ns-mad1.harbor.example.org. 300 A 198.51.100.53",
	"ns-par1.harbor.example.org. 300 A 192.0.2.53",
	"ns-par1.harbor.example.org. 300 AAAA 2001:db8::53",
}

// reading are the records of each form, by what reads it.
var reading = map[string]func(t *testing.T, text string) []string{
	"bind": func(t *testing.T, text string) (all []string) {
		zone := dns.NewZoneParser(strings.NewReader(text), "", "")
		for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
			h := rr.Header()
			all = append(all, fmt.Sprintf("%s %d %s %s", h.Name, h.Ttl, dns.TypeToString[h.Rrtype], data(rr)))
		}
		if err := zone.Err(); err != nil {
			t.Error(err)
		}
		return all
	},
	"route53": func(t *testing.T, text string) (all []string) {
		var batch struct {
			Changes []struct {
				Action            string
				ResourceRecordSet struct {
					Name, Type      string
					TTL             int
					ResourceRecords []struct{ Value string }
				}
			}
		}
		read(t, json.Unmarshal, text, &batch)
		for _, c := range batch.Changes {
			for _, r := range c.ResourceRecordSet.ResourceRecords {
				all = append(all, fmt.Sprintf("%s %d %s %s", c.ResourceRecordSet.Name, c.ResourceRecordSet.TTL, c.ResourceRecordSet.Type, r.Value))
			}
		}
		return all
	},
	"clouddns": func(t *testing.T, text string) (all []string) {
		dir := t.TempDir() // of a gcloud that says what it is told
		if err := os.WriteFile(filepath.Join(dir, "gcloud"), []byte("#!/bin/sh\nfor i; do echo \"$i\"; done\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-euc", text)
		cmd.Env = []string{"ZONE=of mine", "PATH=" + dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		words := strings.Split(strings.TrimSpace(string(out)), "\n")
		for said := range slices.Chunk(words, 8) {
			if strings.Join(said[:3], " ") != "dns record-sets create" || said[4] != "--zone=of mine" {
				t.Errorf("%q", said)
			}
			for _, data := range strings.Split(strings.TrimPrefix(said[7], "--rrdatas="), ",") {
				all = append(all, fmt.Sprintf("%s %s %s %s", said[3], strings.TrimPrefix(said[6], "--ttl="), strings.TrimPrefix(said[5], "--type="), data))
			}
		}
		return all
	},
	"cloudflare": func(t *testing.T, text string) (all []string) {
		var body struct {
			Posts []struct {
				Type, Name, Content string
				TTL                 int
				Proxied             *bool
				Data                struct {
					KeyTag     int `json:"key_tag"`
					Algorithm  int
					DigestType int `json:"digest_type"`
					Digest     string
				}
			}
		}
		read(t, json.Unmarshal, text, &body)
		for _, p := range body.Posts {
			switch p.Type {
			case "NS":
				p.Content += "."
			case "DS":
				p.Content = fmt.Sprint(p.Data.KeyTag, p.Data.Algorithm, p.Data.DigestType, " ", p.Data.Digest)
			default:
				if p.Proxied == nil || *p.Proxied {
					t.Errorf("%s: a name server is asked by way of a proxy", p.Name)
				}
			}
			all = append(all, fmt.Sprintf("%s. %d %s %s", p.Name, p.TTL, p.Type, p.Content))
		}
		return all
	},
	"externaldns": func(t *testing.T, text string) (all []string) {
		var endpoint struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Spec       struct {
				Endpoints []struct {
					DNSName    string `yaml:"dnsName"`
					RecordType string `yaml:"recordType"`
					RecordTTL  int    `yaml:"recordTTL"`
					Targets    []string
				}
			}
		}
		read(t, func(text []byte, into any) error { return yaml.Unmarshal(text, into) }, text, &endpoint)
		if endpoint.APIVersion != "externaldns.k8s.io/v1alpha1" || endpoint.Kind != "DNSEndpoint" {
			t.Errorf("%+v", endpoint)
		}
		for _, e := range endpoint.Spec.Endpoints {
			for _, target := range e.Targets {
				if e.RecordType == "NS" {
					target += "."
				}
				all = append(all, fmt.Sprintf("%s. %d %s %s", e.DNSName, e.RecordTTL, e.RecordType, target))
			}
		}
		if strings.Contains(text, "write it yourself: harbor.example.org.\t300\tIN\tDS\t4711 13 2 "+digest) {
			all = append(all, exampleRecords[0])
		}
		return all
	},
}

func read(t *testing.T, unmarshal func([]byte, any) error, text string, into any) {
	t.Helper()
	if err := unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// Each form has the same records.
func TestShow(t *testing.T) {
	for _, form := range Forms {
		t.Run(form, func(t *testing.T) {
			var out strings.Builder
			if err := Show(&out, form, []Zone{example(t)}); err != nil {
				t.Fatal(err)
			}
			got := reading[form](t, out.String())
			slices.Sort(got)
			if !slices.Equal(got, exampleRecords) {
				t.Errorf("%s\nsays\n%s\nwant\n%s", &out, strings.Join(got, "\n"), strings.Join(exampleRecords, "\n"))
			}
		})
	}
	if err := Show(new(strings.Builder), "tinydns", []Zone{example(t)}); err == nil || !strings.Contains(err.Error(), "bind, route53") {
		t.Errorf("an unknown form: %v", err)
	}
}

// With digests of keys the parent gets them, with none it loses them, and where they are not
// known they stay.
func TestPlansOfDS(t *testing.T) {
	z := example(t)
	has := func() []set { return z.sets() }
	before := has()
	for what, ds := range map[string][]dns.RR{"gone": {}, "unknown": nil, "same": z.DS} {
		p := Plan{Zone: "harbor.example.org.", Parent: "example.org."}
		wants := z
		wants.DS = ds
		p.compare(before, wants)
		removed := map[string]int{"gone": 1}[what]
		if len(p.Remove) != removed || len(p.Add) != 0 || len(p.message.Ns) != removed || (len(p.Notes) == 1) != (what == "unknown") {
			t.Errorf("%s: %+v", what, p)
		}
	}
	p := Plan{Zone: "harbor.example.org.", Parent: "example.org."}
	p.compare(nil, z)
	if len(p.Add) != len(exampleRecords) || len(p.Remove) != 0 {
		t.Errorf("of nothing: %+v", p)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("key \"parent\" {\n\talgorithm hmac-sha256;\n\tsecret \"QUJD//RE\";\n};\n")
	f.Add("# mine\nkey parent. { secret QUJD; // of mine\n algorithm \"hmac-sha512\"; };")
	f.Add("key a { } key b { }")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseKey(text)
		if err == nil && (key.Name == "" || key.secret == "" || !slices.Contains(algorithms, key.Algorithm)) {
			t.Errorf("%q is taken as %+v", text, key)
		}
	})
}

func TestParseKey(t *testing.T) {
	for text, want := range map[string]Key{
		"key \"Parent\" {\n\talgorithm hmac-sha256;\n\tsecret \"QUJD//RE\";\n};\n":                      {"parent.", dns.HmacSHA256, "QUJD//RE"},
		"# mine\nkey parent. { secret QUJD; // of mine\n /* is */ algorithm \"hmac-sha512\"; };":        {"parent.", dns.HmacSHA512, "QUJD"},
		"key a { algorithm hmac-sha256; secret QUJD; }; key b { algorithm hmac-sha256; secret QUJD; };": {},
		"key a { algorithm hmac-sha256; secret \"!\"; };":                                               {},
		"key a { algorithm hmac-sha256; };":                                                             {},
	} {
		if key, err := parseKey(text); key != want || (err == nil) != (want.Name != "") {
			t.Errorf("%q: %+v, %v", text, key, err)
		}
	}
}
