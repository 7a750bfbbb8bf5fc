package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// distanceRow is what one peer did in one work at one distance: medians of the rounds.
type distanceRow struct {
	Work     string  `json:"work"`
	Peer     string  `json:"peer"`
	Over     string  `json:"over"` // plain, h1, h2
	Trip     float64 `json:"round_trip_seconds"`
	Cap      int64   `json:"cap_bytes_per_second"` // of each connection; 0: none
	Seconds  float64 `json:"seconds"`
	Bytes    float64 `json:"bytes_per_second"`
	Spread   float64 `json:"spread"`                 // the slowest round's time in that of the quickest
	OfFirst  float64 `json:"of_first"`               // its speed in that over the first of the distances
	OfDirect float64 `json:"of_direct,omitempty"`    // and in that without an edge, where there is that
	CPU      float64 `json:"cpu_seconds_per_gib"`    // of the edge's process, or the origin's where there is no edge
	Peak     float64 `json:"peak_bytes"`             // of the same
	Source   float64 `json:"source_bytes,omitempty"` // that a fill had from the origin, TLS and all
}

// distanceReport is all that is printed.
type distanceReport struct {
	Head []string       `json:"head"`
	Rows []*distanceRow `json:"rows"`
}

func newDistanceReport(d *distance) *distanceReport {
	p := d.plan
	r := &distanceReport{Head: []string{head("machine", machine()), head("go", runtime.Version())}}
	for _, k := range kinds() {
		if binary, found := d.env.binaries[k.name]; found {
			r.Head = append(r.Head, head(k.name, k.version(binary)))
		}
	}
	for _, absent := range d.env.absent {
		r.Head = append(r.Head, head("absent", absent))
	}
	r.Head = append(r.Head, head("ranges", fmt.Sprintf("a client of the origin that fetches %d ranges at once", pieces)),
		head("date", time.Now().UTC().Format("2006-01-02 15:04 UTC")),
		head("work", fmt.Sprintf("%d rounds, order shuffled; push and pull %d MiB, fill %d MiB; capped at %d MB/s a connection", p.Rounds, p.Push/mib, p.Fill/mib, p.Rate/1e6)),
		head("links", "late by half a round trip each way, without loss and without slow start; TLS at both ends but for plain"))
	return r
}

// add makes a row of the samples of one peer.
func (r *distanceReport) add(work string, trip time.Duration, rate int64, f *far, samples []sample) {
	speeds := make([]float64, len(samples))
	for i, s := range samples {
		speeds[i] = s.speed()
	}
	row := &distanceRow{Work: work, Peer: f.as, Over: f.over, Trip: trip.Seconds(), Cap: rate, Spread: slices.Max(speeds) / max(1, slices.Min(speeds)),
		Seconds: median(samples, func(s sample) float64 { return s.wall.Seconds() }),
		Bytes:   median(samples, sample.speed),
		CPU:     median(samples, func(s sample) float64 { return s.cpu.Seconds() / float64(max(1, s.bytes)) * (1 << 30) }),
		Peak:    median(samples, func(s sample) float64 { return float64(s.peak) }),
	}
	if slices.Contains(fills, work) {
		row.Source = median(samples, func(s sample) float64 { return float64(s.carried) })
	}
	r.Rows = append(r.Rows, row)
}

// compare fills in what each row is of others.
func (r *distanceReport) compare() {
	for _, row := range r.Rows {
		for _, o := range r.Rows {
			if o.Work != row.Work || o.Over != row.Over {
				continue
			}
			if o.Peer == row.Peer && row.OfFirst == 0 {
				row.OfFirst = row.Bytes / o.Bytes
			}
			if o.Peer == "direct" && o.Trip == row.Trip {
				row.OfDirect = row.Bytes / o.Bytes
			}
		}
	}
}

func (r *distanceReport) print(out io.Writer) error {
	for _, line := range r.Head {
		fmt.Fprintln(out, line)
	}
	r.printSpeeds(out)
	const line = "%-11s  %7s  %-12s  %-4s  %8s  %6s  %6s  %6s  %7s  %9s  %8s  %10s\n"
	fmt.Fprintf(out, "\n"+line, "work", "ms", "peer", "over", "seconds", "spread", "MB/s", "/first", "/direct", "cpu s/GiB", "peak MiB", "source MiB")
	for i, row := range r.Rows {
		if i > 0 && (row.Work != r.Rows[i-1].Work || row.Trip != r.Rows[i-1].Trip) {
			fmt.Fprintln(out)
		}
		source, ofDirect := "-", "-"
		if row.OfDirect > 0 {
			ofDirect = fmt.Sprintf("%.2f", row.OfDirect)
		}
		if row.Source > 0 {
			source = fmt.Sprintf("%.1f", row.Source/mib)
		}
		if _, err := fmt.Fprintf(out, line, row.Work, milliseconds(row.Trip), row.Peer, row.Over, fmt.Sprintf("%.3f", row.Seconds), fmt.Sprintf("%.2f", row.Spread), fmt.Sprintf("%.0f", row.Bytes/1e6),
			fmt.Sprintf("%.2f", row.OfFirst), ofDirect, fmt.Sprintf("%.2f", row.CPU), fmt.Sprintf("%.0f", row.Peak/mib), source); err != nil {
			return err
		}
	}
	return nil
}

// printSpeeds writes each peer's speeds at all distances into one line.
func (r *distanceReport) printSpeeds(out io.Writer) {
	var trips []float64
	for _, row := range r.Rows {
		if !slices.Contains(trips, row.Trip) {
			trips = append(trips, row.Trip)
		}
	}
	fmt.Fprintf(out, "\n%-11s  %-12s  %-4s", "MB/s", "peer", "over")
	for _, trip := range trips {
		fmt.Fprintf(out, "  %9s", milliseconds(trip)+" ms")
	}
	fmt.Fprintln(out)
	for i, first := range r.Rows {
		if first.Trip != trips[0] {
			continue
		}
		if i > 0 && r.Rows[i-1].Work != first.Work {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%-11s  %-12s  %-4s", first.Work, first.Peer, first.Over)
		for _, row := range r.Rows {
			if row.Work == first.Work && row.Peer == first.Peer && row.Over == first.Over {
				fmt.Fprintf(out, "  %9.0f", row.Bytes/1e6)
			}
		}
		fmt.Fprintln(out)
	}
}
