package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// scaleResult is all that is printed.
type scaleResult struct {
	Machine  []string       `json:"machine"`
	Plan     scalePlan      `json:"plan"`
	Failures map[string]int `json:"failures"`
	Events   int            `json:"events"`
	Played   float64        `json:"days_played"` // fewer than planned where it was interrupted
	Moves    []moveRow      `json:"moves"`
	Wrong    []wrongRow     `json:"wrong"`
	Share    float64        `json:"wrong_share"`  // of all clients' time that they were named somebody wrong, caches not counted
	Cached   float64        `json:"cached_share"` // the same with what caches kept
	Samples  sampleCount    `json:"samples"`
	Costs    []scaleCost    `json:"costs"`
}

// moveRow is what came of one kind of change, as one name server sees it.
type moveRow struct {
	Why      string `json:"why"`
	Changes  int    `json:"changes"`
	Moved    int    `json:"moved"` // clients, all
	Median   int    `json:"median"`
	Max      int    `json:"max"`
	Needless int    `json:"needless"` // of all
}

// wrongRow is how long one kind of wrong answers was given, by clients: in seconds.
type wrongRow struct {
	Why     string  `json:"why"`
	Times   int     `json:"times"`   // by name server and metro
	Clients float64 `json:"clients"` // that were answered wrongly, on the average of the name servers
	P50     float64 `json:"p50_seconds"`
	P99     float64 `json:"p99_seconds"`
	Max     float64 `json:"max_seconds"`
	CachedP float64 `json:"cached_p50_seconds"` // until caches had forgotten it
	CachedQ float64 `json:"cached_p99_seconds"`
	CachedM float64 `json:"cached_max_seconds"`
}

// weighted is the time below which that share of the clients is.
func weighted(sorted []wrongTime, share float64) (at wrongTime) {
	total := 0.0
	for _, x := range sorted {
		total += x.clients
	}
	for _, x := range sorted {
		if at = x; share*total <= x.clients {
			return x
		}
		total -= x.clients / share
	}
	return at
}

func (s *scaleSim) report(r *scaleResult) {
	a := s.answers
	r.Failures, r.Events, r.Samples = s.kinds, s.events, a.samples
	r.Played = s.end.Hours() / 24
	all := s.end.Seconds() * float64(s.plan.Clients) * float64(len(s.watched))
	for _, why := range slices.Sorted(maps.Keys(a.moves)) {
		of := a.moves[why]
		row := moveRow{Why: why, Changes: of.changes, Needless: of.needless}
		slices.Sort(of.clients)
		for _, n := range of.clients {
			row.Moved += n
		}
		if len(of.clients) > 0 {
			row.Median, row.Max = of.clients[len(of.clients)/2], of.clients[len(of.clients)-1]
		}
		r.Moves = append(r.Moves, row)
	}
	for _, why := range slices.Sorted(maps.Keys(a.wrongs)) {
		of := a.wrongs[why]
		slices.SortStableFunc(of, func(x, y wrongTime) int { return cmp.Compare(x.lasted, y.lasted) })
		row := wrongRow{Why: why, Times: len(of)}
		for _, x := range of {
			row.Clients += x.clients / float64(len(s.watched))
			r.Share += x.lasted.Seconds() * x.clients / all
			r.Cached += (x.lasted + x.ttl).Seconds() * x.clients / all
		}
		for _, q := range []struct {
			share        float64
			into, cached *float64
		}{{0.5, &row.P50, &row.CachedP}, {0.99, &row.P99, &row.CachedQ}, {1, &row.Max, &row.CachedM}} {
			x := weighted(of, q.share)
			*q.into, *q.cached = x.lasted.Seconds(), (x.lasted + x.ttl).Seconds()
		}
		r.Wrong = append(r.Wrong, row)
	}
}

func (r *scaleResult) writeText(out io.Writer) {
	for _, line := range r.Machine {
		fmt.Fprintln(out, line)
	}
	p := r.Plan
	fmt.Fprintln(out, head("fleet", fmt.Sprintf("%d datacenters, a name server in each; %d client networks; %.0f days, seed %d, %d events", p.Datacenters, p.Clients, r.Played, p.Seed, r.Events)))
	fmt.Fprintln(out, head("probes", fmt.Sprintf("every %s, timeout %s, fall %d, rise %d, confirm %s, hold %s; TTL %s", scaleProbe.Interval, scaleProbe.Timeout, scaleProbe.Fall, scaleProbe.Rise, scaleProbe.Confirm, scaleProbe.Hold, scaleTTL)))
	failed := ""
	for _, kind := range faultKinds {
		failed += fmt.Sprintf("%s %d  ", kind, r.Failures[kind])
	}
	fmt.Fprintln(out, head("failures", failed))
	fmt.Fprintf(out, "\n%-24s%9s%12s%10s%10s%10s\n", "clients that moved", "changes", "all", "median", "max", "needless")
	for _, m := range r.Moves {
		fmt.Fprintf(out, "%-24s%9d%12d%10d%10d%10d\n", m.Why, m.Changes, m.Moved, m.Median, m.Max, m.Needless)
	}
	fmt.Fprintf(out, "\n%-28s%8s%12s%9s%9s%9s%11s%9s%9s\n", "wrong answers, seconds", "times", "clients", "p50", "p99", "max", "in caches", "p99", "max")
	for _, w := range r.Wrong {
		fmt.Fprintf(out, "%-28s%8d%12.0f%9.2f%9.2f%9.2f%11.2f%9.2f%9.2f\n", w.Why, w.Times, w.Clients, w.P50, w.P99, w.Max, w.CachedP, w.CachedQ, w.CachedM)
	}
	fmt.Fprintf(out, "\nof the clients' time %.3g was wrong, %.3g with caches\n", r.Share, r.Cached)
	fmt.Fprintf(out, "asked while nothing failed: %d; wrong %d, other than the first name server's %d; isolated %d times, a backup raised then %d\n", r.Samples.Asked, r.Samples.Wrong, r.Samples.Differ, r.Samples.Isolated, r.Samples.Raised)
	fmt.Fprintf(out, "\n%-6s%10s%10s%9s%9s%10s%9s%10s%10s%8s%11s%10s%12s%9s\n", "dcs", "probes/s", "kbit/s", "told/s", "bytes", "sent Mb/s", "read us", "heard us", "news us", "cpu %", "rebuild ms", "alloc MiB", "topology s", "MiB")
	for _, c := range r.Costs {
		fmt.Fprintf(out, "%-6d%10.0f%10.0f%9.0f%9d%10.1f%9.0f%10.1f%10.1f%8.1f%11.2f%10.2f%12.2f%9.0f\n", c.Datacenters, c.Probes, c.ProbeBytes*8/1e3, c.Told, c.Observation, c.Sent*8/1e6, c.Reading*1e6, c.Hearing*1e6,
			c.News*1e6, c.Busy*100, c.Rebuild*1e3, c.Allocated/mib, c.Topology, c.Resident/mib)
	}
}
