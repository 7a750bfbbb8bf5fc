package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// spreadReport is what was seen.
type spreadReport struct {
	Head   []string     `json:"head"`
	Faults []string     `json:"faults"` // the first push that was refused, of each way
	Rows   []*spreadRow `json:"rows"`
}

// spreadRow is what was seen of one kind of tags, by one way, at one delay.
type spreadRow struct {
	Delay        float64    `json:"delay_seconds"`
	Through      string     `json:"through"`      // edges, behind (the Harbors behind them), Harbors (no edges)
	Tag          string     `json:"tag"`          // new, moved
	Pushes       int        `json:"pushes"`       //
	Refused      int        `json:"refused"`      // of those
	Acknowledged int        `json:"acknowledged"` // pushes that a peer had heard of when they were answered, one for each peer
	Next         int        `json:"next"`         // of those, how many the next pull there showed
	Pulls        int        `json:"pulls"`        // of manifests, in all datacenters
	Older        int        `json:"older"`        // of those, how many showed an older push than was acknowledged or pulled there before
	Failed       int        `json:"failed"`       // of manifests and layers
	Never        int        `json:"never"`        // pushes that did not come, one for each datacenter
	Tags         int        `json:"tags"`         // at the end, in all datacenters
	Latest       int        `json:"latest"`       // of those, how many show the last push
	Push         quantiles  `json:"push_seconds"`
	Spread       quantiles  `json:"spread_seconds"` // from the push's answer to the end of the first pull that showed it
	Whole        *quantiles `json:"whole_seconds"`  // the same, to the end of its layer
}

// quantiles are of seconds.
type quantiles struct {
	Min float64 `json:"min"`
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(all []time.Duration) quantiles {
	all = slices.Sorted(slices.Values(all))
	return quantiles{quantile(all, 0), quantile(all, 0.5), quantile(all, 0.95), quantile(all, 0.99), quantile(all, 1)}
}

// rows are the stage's, in the order of the result.
func (s *stage) rows() (all []*spreadRow) {
	for _, through := range []string{throughEdges, behindEdges, pastEdges} {
		for _, kind := range []string{newTag, movedTag} {
			k := s.kinds[through+" "+kind]
			if k == nil {
				continue
			}
			row := &spreadRow{Delay: s.delay.Seconds(), Through: through, Tag: kind, Pushes: k.pushes, Refused: k.refused, Acknowledged: k.acknowledged, Next: k.next, Pulls: k.pulls, Older: k.older,
				Failed: k.failed, Never: k.never, Tags: k.tags, Latest: k.latest, Push: quantilesOf(k.push), Spread: quantilesOf(k.spread)}
			if through == throughEdges {
				whole := quantilesOf(k.whole)
				row.Whole = &whole
			}
			all = append(all, row)
		}
	}
	return all
}

const spreadColumns = "%-7s%-9s%-7s%8s%9s%14s%14s%8s%7s%8s%7s%12s\n"

// String is the row's counts, as a line.
func (r *spreadRow) String() string {
	of := func(n, all int) string {
		if all == 0 {
			return "-"
		}
		return fmt.Sprintf("%d/%d", n, all)
	}
	asked := 0
	if r.Through == throughEdges {
		asked = (len(spreadSites) - 1) * (r.Pushes - r.Refused)
	}
	return strings.TrimSuffix(fmt.Sprintf(spreadColumns, milliseconds(r.Delay), r.Through, r.Tag, fmt.Sprint(r.Pushes), fmt.Sprint(r.Refused), of(r.Acknowledged, asked), of(r.Next, r.Acknowledged),
		fmt.Sprint(r.Pulls), fmt.Sprint(r.Older), fmt.Sprint(r.Failed), fmt.Sprint(r.Never), of(r.Latest, r.Tags)), "\n")
}

func milliseconds(seconds float64) string { return fmt.Sprintf("%.0f", seconds*1000) }

func (r *spreadReport) print(out io.Writer) error {
	for _, line := range r.Head {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "\n"+spreadColumns, "ms", "through", "tag", "pushes", "refused", "acknowledged", "next is new", "pulls", "older", "failed", "never", "at the end")
	for _, row := range r.Rows {
		fmt.Fprintln(out, row)
	}
	for _, fault := range r.Faults {
		fmt.Fprintln(out, fault)
	}
	const line = "%-7s%-9s%-7s%-22s%10s%10s%10s%10s%10s\n"
	fmt.Fprintf(out, "\n"+line, "ms", "through", "tag", "milliseconds", "min", "p50", "p95", "p99", "max")
	for _, row := range r.Rows {
		for _, q := range []struct {
			what string
			of   *quantiles
		}{{"push", &row.Push}, {"push to pull", &row.Spread}, {"push to layer", row.Whole}} {
			if q.of == nil || q.of.Max == 0 {
				continue
			}
			cells := []any{milliseconds(row.Delay), row.Through, row.Tag, q.what}
			for _, x := range []float64{q.of.Min, q.of.P50, q.of.P95, q.of.P99, q.of.Max} {
				cells = append(cells, fmt.Sprintf("%.1f", x*1000))
			}
			if _, err := fmt.Fprintf(out, line, cells...); err != nil {
				return err
			}
		}
	}
	return nil
}
