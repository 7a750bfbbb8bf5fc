package status

import (
	"cmp"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities. A fleet of which there are notes alone is well.
const (
	Wrong   Severity = "wrong"
	Warning Severity = "warning"
	Note    Severity = "note"
	Well    Severity = "well"
)

// Runbooks is where the runbooks are, unless somebody says otherwise.
const Runbooks = "https://example.org/breakwater/deploy/runbooks/"

// Finding is something that is not as it should be, or that one should know.
type Finding struct {
	Severity   Severity `json:"severity"`
	Kind       string   `json:"kind"`
	Datacenter string   `json:"datacenter,omitempty"` // "": of the fleet
	Sentence   string   `json:"sentence"`
	Runbook    string   `json:"runbook"` // the page's address
}

type kind struct {
	name     string
	severity Severity
	runbook  string
}

// kinds are all findings, the worst first, each with its runbook.
var kinds = []kind{
	{"nobody serves", Wrong, "alerts.md#breakwaternobodyserves"},
	{"name servers down", Wrong, "alerts.md#breakwaternameserversdown"},
	{"edges down", Wrong, "alerts.md#breakwaterdatacenteredgesdown"},
	{"edge down", Wrong, "alerts.md#breakwateredgedown"},
	{"certificate bad", Wrong, "alerts.md#breakwatercertificateends"},
	{"certificate ends", Wrong, "alerts.md#breakwatercertificateends"},
	{"named and away", Wrong, "alerts.md#breakwaterdatacenterout"},
	{"key differs", Wrong, "rotate-secrets.md#peer-key"},
	{"name server key differs", Wrong, "rotate-secrets.md#gslb-key"},
	{"another edge", Wrong, "alerts.md#breakwaterpeerdiffers"},
	{"clock differs", Wrong, "alerts.md#breakwaterpeerdiffers"},
	{"name server down", Wrong, "alerts.md#breakwaternameserverdown"},
	{"name servers disagree", Wrong, "alerts.md#breakwaternameserversdisagree"},
	{"override does not hold", Wrong, "drain-datacenter.md"},
	{"harbor down", Wrong, "alerts.md#breakwaterharbordown"},
	{"store hangs", Wrong, "alerts.md#breakwaterstorehanging"},
	{"store degraded", Wrong, "alerts.md#breakwaterstoredegraded"},
	{"lacks", Wrong, "install.md"},
	{"peer unreachable", Wrong, "alerts.md#breakwaterpeerunreachable"},
	{"outage tokens", Warning, "alerts.md#breakwateroutagetokens"},
	{"backup answered", Warning, "alerts.md#breakwaterbackupanswered"},
	{"not named", Warning, "alerts.md#breakwaterdatacenterout"},
	{"seen down", Warning, "alerts.md#breakwaterdatacenterout"},
	{"component unhealthy", Warning, "alerts.md#breakwaterharbordown"},
	{"disk fills", Warning, "alerts.md#breakwaterstoredegraded"},
	{"certificate ends soon", Warning, "alerts.md#breakwatercertificateendssoon"},
	{"clock is off", Warning, "alerts.md#breakwaterpeerdiffers"},
	{"announcements wait", Warning, "alerts.md#breakwaterannouncementswait"},
	{"harbor not following", Warning, "alerts.md#breakwaterharbornotfollowing"},
	{"harbor behind", Warning, "alerts.md#breakwaterharborbehind"},
	{"pulls not counted", Warning, "alerts.md#breakwaterpullsnotcounted"},
	{"fleet file not taken", Warning, "upgrade.md"},
	{"keys differ", Warning, "rotate-secrets.md#peer-key"},
	{"name server keys differ", Warning, "rotate-secrets.md#gslb-key"},
	{"fleet files differ", Warning, "upgrade.md"},
	{"versions differ", Warning, "alerts.md#breakwaterversionsdiffer"},
	{"login refused", Warning, "alerts.md#breakwatercredentialsrefused"},
	{"source down", Warning, "alerts.md#breakwaterupstreamdown"},
	{"lacks little", Warning, "install.md"},
	{"not looked at", Warning, "install.md"},
	{"not in the file", Note, "rotate-secrets.md#peer-key"},
	{"draining", Note, "drain-datacenter.md"},
	{"overridden", Note, "drain-datacenter.md"},
	{"source paused", Note, "alerts.md#breakwaterupstreamlimit"},
}

// find adds a finding, once.
func (f *Fleet) find(base, kind, datacenter, sentence string) {
	k := kinds[place(kind)]
	found := Finding{Severity: k.severity, Kind: kind, Datacenter: datacenter, Sentence: printable(sentence), Runbook: strings.TrimRight(base, "/") + "/" + k.runbook}
	if !slices.Contains(f.Findings, found) {
		f.Findings = append(f.Findings, found)
	}
}

// rank puts the worst first, and says how the fleet is.
func (f *Fleet) rank() {
	slices.SortStableFunc(f.Findings, func(a, b Finding) int {
		return cmp.Compare(place(a.Kind), place(b.Kind))
	})
	f.Verdict = Well
	if len(f.Findings) > 0 && f.Findings[0].Severity != Note {
		f.Verdict = f.Findings[0].Severity
	}
}

func place(name string) int {
	return slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
}

// printable has nothing in it that a terminal would obey: what nodes say is shown as it is.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, s)
}

// Pages are all that findings lead to.
func Pages() (all []string) {
	for _, k := range kinds {
		all = append(all, k.runbook)
	}
	return all
}
