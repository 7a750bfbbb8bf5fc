package status

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/operator"
)

const (
	soon      = 14 * 24 * time.Hour // a certificate ends
	verySoon  = 3 * 24 * time.Hour
	clockOff  = 5.0 // seconds
	lately    = 15 * time.Minute
	backlogOf = time.Minute
)

// judge says what is wrong.
func (f *Fleet) judge(file *fleet.Fleet, base string) {
	f.Findings = []Finding{}
	j := judge{f, file, base}
	for i := range f.Datacenters {
		j.datacenter(&f.Datacenters[i])
	}
	j.names()
	j.same()
	for _, m := range f.Missing {
		kind := "not looked at"
		if strings.Contains(m, "the fleet file has no") { // and so it is meant
			kind = "not in the file"
		}
		j.find(base, kind, "", "Not looked at: "+m+".")
	}
	f.rank()
}

type judge struct {
	*Fleet
	file *fleet.Fleet
	base string
}

func (j judge) say(kind, datacenter, format string, args ...any) {
	j.find(j.base, kind, datacenter, strings.TrimSpace(datacenter+": "+fmt.Sprintf(format, args...)))
}

// datacenter looks at the edges of one.
func (j judge) datacenter(d *Datacenter) {
	away := 0
	for _, e := range d.Edges {
		if e.Fault == FaultRefused || e.Fault == FaultSilent || e.Fault == FaultName || e.Fault == FaultOther && e.Health == nil {
			away++
		}
	}
	for _, e := range d.Edges {
		at := strings.Join(e.Addresses, ", ")
		switch e.Fault {
		case "":
			j.edge(d, e, j.instance(d, e))
		case FaultNoKey:
			j.public(d, e)
		case FaultCertificate:
			j.say("certificate bad", d.Name, "%s (%s). No client gets in.", e.Why, at)
		case FaultKey:
			j.say("key differs", d.Name, "%s (%s). It does not know its peers, nor who steers it.", e.Why, at)
			j.public(d, e)
		case FaultClock:
			j.say("clock differs", d.Name, "%s (%s).", e.Why, at)
			j.public(d, e)
		default:
			kind := "edge down"
			if away == len(d.Edges) {
				kind = "edges down"
			}
			j.say(kind, d.Name, "the edge cannot be asked: %s (%s).", e.Why, at)
			j.public(d, e)
		}
	}
}

// instance names an edge, where a datacenter has several.
func (j judge) instance(d *Datacenter, e Edge) string {
	if len(d.Edges) == 1 {
		return "the edge"
	}
	return "the edge " + e.Report.Instance
}

// public is what is wrong by what anybody may know.
func (j judge) public(d *Datacenter, e Edge) {
	h := e.Health
	if h == nil {
		return
	}
	if h.Harbor != "up" {
		j.say("harbor down", d.Name, "its Harbor is down.")
	}
	switch h.Store {
	case "hanging":
		j.say("store hangs", d.Name, "the disk of the store does not answer.")
	case "degraded":
		j.say("store degraded", d.Name, "the disk of the store refuses what is pulled.")
	}
	if h.Draining {
		j.say("draining", d.Name, "the edge says that it leaves.")
	}
}

// edge looks at one report.
func (j judge) edge(d *Datacenter, e Edge, who string) {
	r := e.Report
	if r.Drain != nil {
		reason := ""
		if r.Drain.Reason != "" {
			reason = ": " + r.Drain.Reason
		}
		j.say("draining", d.Name, "%s drains for %s, %s said so%s.", who, ago(j.Time, r.Drain.Since), r.Drain.By, reason)
	} else if r.Leaving {
		j.say("draining", d.Name, "%s is about to stop.", who)
	}
	j.harbor(d, r)
	j.store(d, r, who)
	for _, l := range r.Lacks {
		j.lacks(d.Name, who, l)
	}
	if math.Abs(e.Ahead) > clockOff {
		j.say("clock is off", d.Name, "the clock of %s differs from this machine's by %.0f s.", who, math.Abs(e.Ahead))
	}
	if r.Certificate != nil {
		switch left := r.Certificate.Sub(j.Time); {
		case left <= 0:
			j.say("certificate ends", d.Name, "the certificate of %s has ended. No client gets in.", who)
		case left < verySoon:
			j.say("certificate ends", d.Name, "the certificate of %s ends in %s.", who, Short(left))
		case left < soon:
			j.say("certificate ends soon", d.Name, "the certificate of %s ends in %s.", who, Short(left))
		}
	}
	if r.Config.Fault != "" {
		j.say("fleet file not taken", d.Name, "%s goes on with the fleet file of %s ago: %s.", who, ago(j.Time, r.Config.Read), strings.TrimRight(r.Config.Fault, "."))
	}
	if last := r.Outage.Last; last != nil && r.Time.Sub(*last) < lately {
		j.say("outage tokens", d.Name, "%s gives tokens itself, because no Harbor can: %d, the last %s ago.", who, r.Outage.Tokens, ago(r.Time, *last))
	}
	j.lag(d, r)
	j.others(d, r, who)
}

func (j judge) harbor(d *Datacenter, r *operator.Report) {
	var unwell []string
	for _, name := range slices.Sorted(maps.Keys(r.Harbor.Components)) {
		if r.Harbor.Components[name] != "healthy" {
			unwell = append(unwell, name)
		}
	}
	list := strings.Join(unwell, ", ")
	switch {
	case !r.Harbor.Up && r.Harbor.Since.IsZero():
		j.say("harbor down", d.Name, "its Harbor has not said yet how it is.")
	case !r.Harbor.Up && list != "":
		j.say("harbor down", d.Name, "its Harbor is down for %s: %s.", ago(r.Time, r.Harbor.Since), list)
	case !r.Harbor.Up:
		j.say("harbor down", d.Name, "its Harbor is down for %s: %s.", ago(r.Time, r.Harbor.Since), r.Harbor.Why)
	case list != "":
		j.say("component unhealthy", d.Name, "of its Harbor %s does not work.", list)
	}
}

func (j judge) store(d *Datacenter, r *operator.Report, who string) {
	s := r.Store
	switch {
	case s.Hanging:
		j.say("store hangs", d.Name, "the disk of %s does not answer. Pulls go on past its store.", who)
	case s.Degraded:
		j.say("store degraded", d.Name, "the disk of %s refuses what is pulled. Pulls go on past its store.", who)
	case s.Size > 0 && s.Free >= 0 && s.Free < s.Size-s.Bytes:
		j.say("disk fills", d.Name, "the store of %s may take %s more, and its disk has %s.", who, Size(s.Size-s.Bytes), Size(s.Free))
	}
}

// differs are the findings that are of a peer's state. One that runs an older program is
// said with the versions.
var differs = map[hello.State]string{
	hello.Key: "key differs", hello.Clock: "clock differs", hello.Certificate: "certificate bad",
	hello.Datacenter: "another edge", hello.Stranger: "another edge", hello.Unreachable: "peer unreachable",
}

// others looks at what an edge sees of others.
func (j judge) others(d *Datacenter, r *operator.Report, who string) {
	for _, p := range r.Peers {
		if kind := differs[p.State]; kind != "" {
			j.say(kind, d.Name, "%s says: %s.", who, strings.TrimRight(p.Says, "."))
		}
	}
	for _, s := range r.Sources {
		if s.Refuses {
			j.say("login refused", d.Name, "%s refuses the credentials that %s has for it: what they may pull there is served from copies alone.", s.Name, who)
		}
		switch {
		case s.Name == "harbor" || strings.HasPrefix(s.Name, "peer-"): // said already
		case !s.Up:
			j.say("source down", d.Name, "%s does not reach %s.", who, s.Name)
		case s.Paused > 0:
			j.say("source paused", d.Name, "%s asked %s for a pause, of %.0f s yet.", s.Name, who, s.Paused)
		}
	}
	for _, a := range r.Announce {
		if wait := seconds(a.Waiting); a.Pending > 0 && wait > backlogOf {
			j.say("announcements wait", d.Name, "the edge of %s has not heard of what was pushed through %s for %s.", a.Datacenter, who, Short(wait))
		}
	}
}

const goNoFurther = "Go no further with a rotation, and have all of them read their files again."

// inOrder are IDs of keys, the one in use first.
func inOrder(keys []string) string { return strings.Join(keys, ", before it ") }

// same looks at what should be the same everywhere.
func (j judge) same() {
	versions, files, answering, steered := map[string][]string{}, map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, s := range j.reports() {
		versions[s.Report.Version] = append(versions[s.Report.Version], "the name server of "+s.Node)
		answering[s.Report.Config] = append(answering[s.Report.Config], "that of "+s.Node)
		if ids := inOrder(s.Report.Keys); ids != "" {
			steered[ids] = append(steered[ids], "that of "+s.Node)
		}
	}
	if len(steered) > 1 {
		j.find(j.base, "name server keys differ", "", "The name servers do not go by the same keys: "+sorted(steered)+". "+goNoFurther)
	}
	if len(answering) > 1 {
		j.find(j.base, "fleet files differ", "", "The name servers answer by different files: "+sorted(answering)+".")
	}
	keys := map[string][]string{}
	for _, d := range j.Datacenters {
		for _, e := range d.Edges {
			if e.Report != nil {
				name := "the edge of " + d.Name
				if ids := inOrder(e.Report.Keys); ids != "" {
					keys[ids] = append(keys[ids], name)
				}
				versions[e.Report.Version] = append(versions[e.Report.Version], name)
				if e.Report.Fleet != "" {
					files[e.Report.Fleet] = append(files[e.Report.Fleet], name)
				}
			}
		}
	}
	if len(keys) > 1 {
		j.find(j.base, "keys differ", "", "The edges do not go by the same keys: "+sorted(keys)+". "+goNoFurther)
	}
	if len(versions) > 1 {
		j.find(j.base, "versions differ", "", "The nodes run different versions: "+sorted(versions)+".")
	}
	if len(files) > 1 {
		j.find(j.base, "fleet files differ", "", "The nodes go by different fleet files: "+sorted(files)+".")
	} else if _, ok := files[j.File]; !ok && len(files) == 1 {
		j.find(j.base, "fleet files differ", "", fmt.Sprintf("The fleet file here (%s) is not the one that the nodes go by: %s.", j.File, sorted(files)))
	}
}

// sorted lists who has what.
func sorted(all map[string][]string) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, what+" ("+strings.Join(slices.Compact(all[what]), ", ")+")")
	}
	return strings.Join(parts, "; ")
}

// judgedHere are findings of a machine's own that the reports show in other ways.
var judgedHere = []string{"harbor", "certificate", "store", "machine.clock"}

// lacks looks at what a machine found wrong with what its daemon needs.
func (j judge) lacks(datacenter, who string, l daemon.Lack) {
	for _, id := range judgedHere {
		if l.ID == id || strings.HasPrefix(l.ID, id+".") {
			return
		}
	}
	kind := "lacks little"
	switch {
	case strings.HasPrefix(l.ID, "files."): // the files that it reads are not in force
		kind = "fleet file not taken"
	case l.Fault:
		kind = "lacks"
	}
	text := strings.TrimRight(l.What, ".")
	if l.Do != "" {
		text += "; " + strings.TrimRight(l.Do, ".")
	}
	j.say(kind, datacenter, "%s: %s.", who, text)
}
