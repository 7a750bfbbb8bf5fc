package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// row is what one peer did in one work: medians of the rounds, but for the
// latencies, which are of all requests of all rounds. 0 is "not measured".
type row struct {
	Transport   string  `json:"transport"`
	Work        string  `json:"work"`
	Peer        string  `json:"peer"`
	Seconds     float64 `json:"seconds"` // until all clients had the blob
	Bytes       float64 `json:"bytes_per_second"`
	Requests    float64 `json:"requests_per_second"`
	OfFastest   float64 `json:"of_fastest"` // its speed in that of the fastest
	OfDirect    float64 `json:"of_direct"`  // and in that of the origin alone
	P50         float64 `json:"p50_seconds"`
	P99         float64 `json:"p99_seconds"`
	CPU         float64 `json:"cpu_seconds_per_gib"`
	CPURequest  float64 `json:"cpu_seconds_per_request"`
	Peak        float64 `json:"peak_bytes"`
	OriginAsked float64 `json:"origin_blob_gets"`
	Spread      float64 `json:"spread"` // the slowest round's time in that of the quickest
	Cut         int     `json:"rounds_given_up"`

	storm, cold bool
}

// result is all that is printed.
type result struct {
	Machine []string `json:"machine"`
	Absent  []string `json:"absent"`
	Rows    []row    `json:"rows"`
}

func newResult(e *environment) *result { return &result{Machine: describe(e), Absent: e.absent} }

func median(samples []sample, of func(sample) float64) float64 {
	all := make([]float64, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// quantile is the latency below which q of all are.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return all[int(q*float64(len(all)-1)+0.5)].Seconds()
}

// speed is in bytes a second.
func (s sample) speed() float64 { return float64(s.bytes) / s.total.Seconds() }

// add makes rows of the samples of one work, by peer.
func (r *result) add(transport string, w work, samples map[string][]sample) {
	var rows []row
	for _, k := range kinds() {
		of := samples[k.name]
		if len(of) == 0 {
			continue
		}
		var latency []time.Duration
		cut, quickest, slowest := 0, of[0].speed(), of[0].speed()
		for _, s := range of {
			latency = append(latency, s.latency...)
			quickest, slowest = max(quickest, s.speed()), min(slowest, s.speed())
			if s.cut {
				cut++
			}
		}
		slices.Sort(latency)
		rows = append(rows, row{
			Transport: transport, Work: w.name, Peer: k.name, Cut: cut, Spread: quickest / max(1, slowest), storm: w.storm, cold: w.cold && !w.push,
			Seconds:     median(of, func(s sample) float64 { return s.wall.Seconds() }),
			Bytes:       median(of, func(s sample) float64 { return s.speed() }),
			Requests:    median(of, func(s sample) float64 { return float64(s.requests) / s.total.Seconds() }),
			P50:         quantile(latency, 0.5),
			P99:         quantile(latency, 0.99),
			CPU:         median(of, func(s sample) float64 { return s.cpu.Seconds() / float64(max(1, s.bytes)) * (1 << 30) }),
			CPURequest:  median(of, func(s sample) float64 { return s.cpu.Seconds() / float64(max(1, s.requests)) }),
			Peak:        median(of, func(s sample) float64 { return float64(s.peak) }),
			OriginAsked: median(of, func(s sample) float64 { return float64(s.asked) }),
		})
	}
	fastest := slices.MaxFunc(rows, func(a, b row) int { return cmp.Compare(a.Bytes, b.Bytes) }).Bytes
	direct := 0.0
	for _, o := range rows {
		if o.Peer == "direct" {
			direct = o.Bytes
		}
	}
	for i := range rows {
		rows[i].OfFastest = rows[i].Bytes / fastest
		if direct > 0 {
			rows[i].OfDirect = rows[i].Bytes / direct
		}
	}
	r.Rows = append(r.Rows, rows...)
}

// writeJSON writes what was measured as one object, indented.
func writeJSON(out io.Writer, measured any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(measured)
}

func (r *result) writeText(out io.Writer) error {
	for _, line := range r.Machine {
		fmt.Fprintln(out, line)
	}
	for _, line := range r.Absent {
		fmt.Fprintln(out, line)
	}
	blobs := slices.DeleteFunc(slices.Clone(r.Rows), func(o row) bool { return o.storm })
	manifests := slices.DeleteFunc(slices.Clone(r.Rows), func(o row) bool { return !o.storm })
	writeRows(out, "Blobs", []string{"seconds", "spread", "MB/s", "/fastest", "/direct", "first p50", "first p99", "cpu s/GiB", "peak MiB", "asked"}, blobs, row.blobCells)
	writeRows(out, "Manifests", []string{"req/s", "spread", "/fastest", "/direct", "p50 ms", "p99 ms", "cpu us/req", "peak MiB"}, manifests, row.manifestCells)
	return nil
}

// writeRows writes a table, the rows of one work together.
func writeRows(out io.Writer, title string, heads []string, rows []row, cells func(row) []string) {
	if len(rows) == 0 {
		return
	}
	line := func(names [3]string, cells []string) {
		fmt.Fprintf(out, "%-5s  %-9s  %-12s", names[0], names[1], names[2])
		for _, c := range cells {
			fmt.Fprintf(out, "  %9s", c)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "\n%s\n", title)
	line([3]string{"over", "work", "peer"}, heads)
	for i, o := range rows {
		if i > 0 && (o.Work != rows[i-1].Work || o.Transport != rows[i-1].Transport) {
			fmt.Fprintln(out)
		}
		line([3]string{o.Transport, o.Work, o.Peer}, cells(o))
	}
}

func (o row) direct() string {
	if o.OfDirect == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", o.OfDirect)
}

func (o row) blobCells() []string {
	seconds, first, last, asked := fmt.Sprintf("%.3f", o.Seconds), "-", "-", "-"
	if o.Cut > 0 {
		seconds = fmt.Sprintf("> %.1f", o.Seconds)
	}
	if o.cold {
		asked = fmt.Sprintf("%.0f", o.OriginAsked)
	}
	if o.P50 > 0 {
		first, last = fmt.Sprintf("%.1f", o.P50*1000), fmt.Sprintf("%.1f", o.P99*1000)
	}
	return []string{seconds, fmt.Sprintf("%.2f", o.Spread), fmt.Sprintf("%.0f", o.Bytes/1e6), fmt.Sprintf("%.2f", o.OfFastest), o.direct(), first, last, fmt.Sprintf("%.2f", o.CPU), fmt.Sprintf("%.0f", o.Peak/mib), asked}
}

func (o row) manifestCells() []string {
	return []string{fmt.Sprintf("%.0f", o.Requests), fmt.Sprintf("%.2f", o.Spread), fmt.Sprintf("%.2f", o.OfFastest), o.direct(), fmt.Sprintf("%.2f", o.P50*1000),
		fmt.Sprintf("%.2f", o.P99*1000), fmt.Sprintf("%.0f", o.CPURequest*1e6), fmt.Sprintf("%.0f", o.Peak/mib)}
}
