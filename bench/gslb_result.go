package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// nameRow is what one name server did in one work: medians of the rounds, but for
// the latencies, which are of all rounds, and what was lost or wrong, which is a sum.
type nameRow struct {
	Work     string  `json:"work"`
	Server   string  `json:"server"`
	Rate     float64 `json:"queries_per_second"`
	Spread   float64 `json:"spread"` // of CPU: the dearest round in the cheapest
	CPU      float64 `json:"cpu_seconds_per_query"`
	OfEcho   float64 `json:"cpu_of_echo"`
	OfGdnsd  float64 `json:"cpu_of_gdnsd"`
	RateEcho float64 `json:"rate_of_echo"`
	RateGd   float64 `json:"rate_of_gdnsd"`
	P50      float64 `json:"p50_seconds"`
	P99      float64 `json:"p99_seconds"`
	Resident float64 `json:"resident_bytes"`
	Checked  int     `json:"checked"`
	Lost     int     `json:"lost"`
	Wrong    int     `json:"wrong"`
}

// switchRow is how long one name server took to send clients elsewhere, and back:
// the median and the longest of the rounds, in seconds.
type switchRow struct {
	Server  string    `json:"server"`
	Leave   []float64 `json:"leave_seconds"`
	Return  []float64 `json:"return_seconds"`
	Strayed int       `json:"strayed"` // how often it changed its mind while nothing happened
}

// nameResult is all that is printed.
type nameResult struct {
	Machine  []string    `json:"machine"`
	Absent   []string    `json:"absent"`
	Rows     []nameRow   `json:"rows"`
	Failover []switchRow `json:"failover"`
	Faults   []string    `json:"faults"` // the first wrong answer of a server
}

func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// add makes rows of the samples of one work, by server.
func (r *nameResult) add(w nameWork, samples map[string][]nameSample) {
	var rows []nameRow
	for _, k := range slices.Concat(nameKinds(), signedKinds()) {
		of := samples[k.name]
		if len(of) == 0 {
			continue
		}
		row := nameRow{Work: w.name, Server: k.name}
		var rates, cpus, resident []float64
		var latency []time.Duration
		for _, s := range of {
			rates, cpus, resident = append(rates, s.rate), append(cpus, s.cpu), append(resident, float64(s.resident))
			latency = append(latency, s.latency...)
			row.Lost += s.lost
			row.Wrong += s.wrong
			if s.first != nil {
				r.Faults = append(r.Faults, k.name+": "+s.first.Error())
			}
		}
		slices.Sort(latency)
		row.Checked = len(latency)
		row.Rate, row.CPU, row.Resident = middle(rates), middle(cpus), middle(resident)
		row.Spread = slices.Max(cpus) / slices.Min(cpus)
		row.P50, row.P99 = quantile(latency, 0.5), quantile(latency, 0.99)
		rows = append(rows, row)
	}
	for i := range rows {
		for _, base := range rows {
			switch base.Server {
			case "echo":
				rows[i].OfEcho, rows[i].RateEcho = rows[i].CPU/base.CPU, rows[i].Rate/base.Rate
			case "gdnsd":
				rows[i].OfGdnsd, rows[i].RateGd = rows[i].CPU/base.CPU, rows[i].Rate/base.Rate
			}
		}
	}
	r.Rows = append(r.Rows, rows...)
}

// slowest is the least rate in full of those that know clients; 0: that was not measured.
func (r *nameResult) slowest() (rate float64) {
	for _, row := range r.Rows {
		if static := slices.ContainsFunc(nameKinds(), func(k nameKind) bool { return k.name == row.Server && k.static }); row.Work == "full" && !static && (rate == 0 || row.Rate < rate) {
			rate = row.Rate
		}
	}
	return rate
}

func (r *nameResult) writeText(out io.Writer) {
	for _, lines := range [][]string{r.Machine, r.Absent, r.Faults} {
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
	}
	ratio := func(x float64) string {
		if x == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", x)
	}
	for i, o := range r.Rows {
		if i == 0 || o.Work != r.Rows[i-1].Work {
			fmt.Fprintf(out, "\n%-14s%-18s%10s%9s%9s%8s%9s%8s%8s%9s%9s%9s%9s%6s%6s\n", "work", "server", "cpu us/q", "/echo", "/gdnsd", "spread",
				"q/s", "/echo", "/gdnsd", "p50 ms", "p99 ms", "rss MiB", "checked", "lost", "wrong")
		}
		fmt.Fprintf(out, "%-14s%-18s%10.1f%9s%9s%8.2f%9.0f%8s%8s%9.2f%9.2f%9.0f%9d%6d%6d\n", o.Work, o.Server, o.CPU*1e6, ratio(o.OfEcho), ratio(o.OfGdnsd), o.Spread,
			o.Rate, ratio(o.RateEcho), ratio(o.RateGd), o.P50*1000, o.P99*1000, o.Resident/mib, o.Checked, o.Lost, o.Wrong)
	}
	for i, o := range r.Failover {
		if i == 0 {
			fmt.Fprintf(out, "\n%-10s%-28s%10s%10s%10s%10s%9s\n", "work", "server", "leave s", "longest", "return s", "longest", "strayed")
		}
		fmt.Fprintf(out, "%-10s%-28s%10.2f%10.2f%10.2f%10.2f%9d\n", failover, o.Server, middle(o.Leave), slices.Max(o.Leave), middle(o.Return), slices.Max(o.Return), o.Strayed)
	}
}
