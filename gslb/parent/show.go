package parent

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"
)

// Forms are the forms that Show knows.
var Forms = []string{"bind", "route53", "clouddns", "cloudflare", "externaldns"}

// Show prints what the parent is to say of the zones in the form that who hosts it takes.
// The zones are of one parent. An unknown form is an error.
func Show(w io.Writer, form string, zones []Zone) error {
	var all []set
	var names []string
	for _, z := range zones {
		all = append(all, z.sets()...)
		names = append(names, strings.TrimSuffix(z.Origin, "."))
	}
	what := "delegate " + strings.Join(names, ", ") + " to its name servers"
	switch form {
	case "bind":
		return zoneFile(w, what, all)
	case "route53":
		return route53(w, what, all)
	case "clouddns":
		return cloudDNS(w, what, all)
	case "cloudflare":
		return cloudflare(w, what, all)
	case "externaldns":
		return externalDNS(w, names, all)
	}
	return fmt.Errorf("there is no form %q; say one of %s", form, strings.Join(Forms, ", "))
}

func zoneFile(w io.Writer, what string, all []set) error {
	_, err := fmt.Fprintf(w, "; %s; raise the serial of the parent zone\n", what)
	for _, s := range all {
		for _, line := range s.lines() {
			if err == nil {
				_, err = fmt.Fprintln(w, line)
			}
		}
	}
	return err
}

func writeJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// route53 is a change batch of Amazon's ChangeResourceRecordSets.
func route53(w io.Writer, what string, all []set) error {
	type value struct{ Value string }
	type recordSet struct {
		Name, Type      string
		TTL             uint32
		ResourceRecords []value
	}
	type change struct {
		Action            string
		ResourceRecordSet recordSet
	}
	batch := struct {
		Comment string
		Changes []change
	}{Comment: what[:min(len(what), 256)]} // characters, at most
	for _, s := range all {
		r := recordSet{Name: s.name, Type: dns.TypeToString[s.rrtype], TTL: s.ttl}
		for _, data := range s.data() {
			r.ResourceRecords = append(r.ResourceRecords, value{data})
		}
		batch.Changes = append(batch.Changes, change{"UPSERT", r})
	}
	return writeJSON(w, batch)
}

// cloudDNS is a script of gcloud, with the managed zone's name in ZONE.
func cloudDNS(w io.Writer, what string, all []set) error {
	_, err := fmt.Fprintf(w, "# %s, in the managed zone $ZONE; where a record is there already: update in place of create\n", what)
	for _, s := range all {
		if err == nil {
			_, err = fmt.Fprintf(w, "gcloud dns record-sets create %s --zone=\"$ZONE\" --type=%s --ttl=%d --rrdatas=%s\n", s.name, dns.TypeToString[s.rrtype], s.ttl, quoted(strings.Join(s.data(), ",")))
		}
	}
	return err
}

// quoted is one word for a shell.
func quoted(word string) string {
	if strings.ContainsAny(word, " ") {
		return "\"" + word + "\""
	}
	return word
}

// cloudflare is the body of POST /zones/ZONE_ID/dns_records/batch.
func cloudflare(w io.Writer, what string, all []set) error {
	type record struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Content string `json:"content,omitempty"`
		Data    any    `json:"data,omitempty"`
		TTL     uint32 `json:"ttl"`
		Proxied *bool  `json:"proxied,omitempty"` // of addresses: name servers are asked themselves
		Comment string `json:"comment"`
	}
	body := struct {
		Posts []record `json:"posts"`
	}{}
	for _, s := range all {
		for i, data := range s.data() {
			r := record{Type: dns.TypeToString[s.rrtype], Name: relative(s.name), Content: relative(data), TTL: s.ttl, Comment: what[:min(len(what), 100)]}
			switch s.rrtype {
			case dns.TypeA, dns.TypeAAAA:
				r.Proxied = new(bool)
			case dns.TypeDS:
				if ds, ok := s.records[i].(*dns.DS); ok {
					r.Content, r.Data = "", map[string]any{"key_tag": ds.KeyTag, "algorithm": ds.Algorithm, "digest_type": ds.DigestType, "digest": ds.Digest}
				}
			}
			body.Posts = append(body.Posts, r)
		}
	}
	return writeJSON(w, body)
}

func relative(name string) string { return strings.TrimSuffix(name, ".") }

// externalDNS is a DNSEndpoint of ExternalDNS, which refuses names with a final dot and
// knows no DS.
func externalDNS(w io.Writer, names []string, all []set) error {
	type endpoint struct {
		Name    string   `yaml:"dnsName"`
		Type    string   `yaml:"recordType"`
		TTL     uint32   `yaml:"recordTTL"`
		Targets []string `yaml:"targets"`
	}
	var endpoints []endpoint
	for _, s := range all {
		if s.rrtype == dns.TypeDS {
			if _, err := fmt.Fprintln(w, "# ExternalDNS knows no DS: write it yourself: "+strings.Join(s.lines(), "; ")); err != nil {
				return err
			}
			continue
		}
		e := endpoint{relative(s.name), dns.TypeToString[s.rrtype], s.ttl, nil}
		for _, data := range s.data() {
			e.Targets = append(e.Targets, relative(data))
		}
		endpoints = append(endpoints, e)
	}
	name := names[0]
	if len(names) > 1 {
		name += "-and-" + strconv.Itoa(len(names)-1) + "-more"
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
		"metadata": map[string]string{"name": "delegation-" + name},
		"spec":     map[string]any{"endpoints": endpoints},
	})
	if err == nil {
		_, err = fmt.Fprintf(w, "# ExternalDNS: --source=crd --managed-record-types=A --managed-record-types=AAAA --managed-record-types=NS\n%s", text)
	}
	return err
}
