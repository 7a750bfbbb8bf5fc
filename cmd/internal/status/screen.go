package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.org/breakwater/proxy/hello"
	"example.org/breakwater/proxy/operator"
)

// Paint colours a text by what it is: a severity, or "head" or "dim".
type Paint func(what, text string) string

// Plain colours nothing.
func Plain(_, text string) string { return text }

// Colours are those of terminals.
func Colours(what, text string) string {
	code := map[string]string{string(Wrong): "31;1", string(Warning): "33", string(Well): "32", "head": "1", "dim": "2"}[what]
	if code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	width = 120 // columns of a screen
	gap   = 2   // between two of a table
)

// row is a line of a table; what comes after its cells is as long as it is.
type row struct {
	cells []string
	rest  string
}

// table prints rows, the first of which are titles, in columns as wide as they need.
func table(out *strings.Builder, paint Paint, most []int, rows []row) {
	widths := make([]int, len(most))
	for _, r := range rows {
		for i := range r.cells {
			r.cells[i] = fit(r.cells[i], most[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(r.cells[i]))
		}
	}
	for n, r := range rows {
		var line strings.Builder
		for i, c := range r.cells {
			fmt.Fprintf(&line, "%-*s", widths[i]+gap, c)
		}
		text := strings.TrimRight(line.String()+r.rest, " ")
		if n == 0 {
			text = paint("head", text)
		}
		fmt.Fprintln(out, text)
	}
}

// fit cuts a cell that is too wide.
func fit(s string, most int) string {
	s = printable(s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// Print shows the fleet on one screen.
func (f *Fleet) Print(out io.Writer, paint Paint) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s\n\n", paint("head", f.Domain), f.Time.Local().Format(time.DateTime))
	f.edges(&text, paint)
	f.lag(&text, paint)
	if len(f.NameServers) > 0 {
		text.WriteString("\n")
		f.servers(&text, paint)
	}
	text.WriteString("\n")
	bad, notes := f.Findings, []Finding(nil)
	if at := slices.IndexFunc(f.Findings, func(x Finding) bool { return x.Severity == Note }); at >= 0 {
		bad, notes = f.Findings[:at], f.Findings[at:]
	}
	if len(bad) == 0 {
		fmt.Fprintln(&text, paint(string(Well), "The fleet is well."))
	} else {
		list(&text, paint, "WHAT IS WRONG", bad)
	}
	if len(notes) > 0 {
		text.WriteString("\n")
		list(&text, paint, "TO KNOW", notes)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func list(out *strings.Builder, paint Paint, title string, all []Finding) {
	fmt.Fprintln(out, paint("head", title))
	const indent = 9
	for _, x := range all {
		for i, line := range wrap(x.Sentence, width-indent) {
			mark := strings.Repeat(" ", indent)
			if i == 0 {
				mark = paint(string(x.Severity), fmt.Sprintf("%-*s", indent, x.Severity))
			}
			fmt.Fprintln(out, mark+line)
		}
		fmt.Fprintln(out, strings.Repeat(" ", indent)+paint("dim", x.Runbook))
	}
}

// wrap cuts a sentence into lines.
func wrap(s string, most int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > most {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// edges is the table of datacenters, a line an instance.
func (f *Fleet) edges(out *strings.Builder, paint Paint) {
	rows := []row{{cells: []string{"DATACENTER", "DNS", "EDGE", "INSTANCE", "VERSION", "UP", "HARBOR", "STORE", "HITS", "FILLS", "PEERS", "CERT"}}}
	for _, d := range f.Datacenters {
		name, dns := d.Name, "-"
		if d.Named.Of > 0 {
			dns = fmt.Sprintf("%d of %d", d.Named.Count, d.Named.Of)
		}
		if len(d.Edges) == 0 {
			rows = append(rows, row{[]string{name, dns, "-"}, ""})
		}
		for _, e := range d.Edges {
			rows = append(rows, f.edge(e, name, dns))
			name, dns = "", ""
		}
	}
	table(out, paint, []int{12, 9, 9, 17, 12, 7, 15, 17, 5, 5, 6, 5}, rows)
}

func (f *Fleet) edge(e Edge, name, dns string) row {
	r := e.Report
	switch {
	case r == nil && e.Health != nil:
		state := "serving"
		if !e.Health.Serving {
			state = "draining"
		}
		return row{[]string{name, dns, state}, fit(fmt.Sprintf("its Harbor is %s, its store %s; %s", e.Health.Harbor, e.Health.Store, e.Why), 80)}
	case r == nil:
		return row{[]string{name, dns, "away"}, fit(e.Why+" ("+strings.Join(e.Addresses, ", ")+")", 80)}
	}
	state := "serving"
	switch {
	case r.Drain != nil:
		state = "draining"
	case r.Leaving:
		state = "leaving"
	}
	peers := "-"
	if n := len(r.Peers); n > 0 {
		well := 0
		for _, p := range r.Peers {
			if p.State == hello.OK {
				well++
			}
		}
		peers = fmt.Sprintf("%d/%d", well, n)
	}
	cert := "-"
	if r.Certificate != nil {
		cert = fmt.Sprintf("%dd", int(r.Certificate.Sub(f.Time).Hours()/24))
	}
	return row{cells: []string{name, dns, state, tail(r.Instance, 17), r.Version, Short(f.Time.Sub(r.Started)), harborCell(r), storeCell(r), ratio(r.Hits), fmt.Sprint(r.Store.Fills), peers, cert}}
}

// tail is the end of an instance's name: that is what differs.
func tail(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return s
}

// harborCell is "up", or what is not.
func harborCell(r *operator.Report) string {
	var unwell []string
	for _, name := range slices.Sorted(maps.Keys(r.Harbor.Components)) {
		if r.Harbor.Components[name] != "healthy" {
			unwell = append(unwell, name)
		}
	}
	switch {
	case len(unwell) == 1:
		return unwell[0] + " down"
	case len(unwell) > 1:
		return fmt.Sprintf("%d of %d down", len(unwell), len(r.Harbor.Components))
	case !r.Harbor.Up:
		return "down"
	}
	return "up"
}

func storeCell(r *operator.Report) string {
	switch {
	case r.Store.Hanging:
		return "hanging"
	case r.Store.Degraded:
		return "degraded"
	case r.Store.Size == 0:
		return Size(r.Store.Bytes)
	}
	return Size(r.Store.Bytes) + "/" + strings.Replace(Size(r.Store.Size), " ", "", 1)
}

// ratio is of the last minutes, or of all time where nothing was read lately.
func ratio(h operator.Hits) string {
	r := h.Recent
	if r.Of == 0 {
		r = h.Start
	}
	if r.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", r.Hits*100/r.Of)
}

// servers is the table of name servers.
func (f *Fleet) servers(out *strings.Builder, paint Paint) {
	rows := []row{{[]string{"NAME SERVER", "ADDRESS"}, "ANSWERS"}}
	for _, s := range f.NameServers {
		cells := []string{s.Datacenter, s.Address}
		if s.Fault != "" {
			rows = append(rows, row{cells, fit(s.Why, 80)})
			continue
		}
		count := map[string]int{}
		for _, a := range s.Answers {
			count[orNobody(a.Datacenter)]++
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(count)) {
			parts = append(parts, fmt.Sprintf("%s to %d of %d", name, count[name], len(s.Answers)))
		}
		rows = append(rows, row{cells, fit(strings.Join(parts, ", "), 80)})
	}
	table(out, paint, []int{12, 40}, rows)
}
