package main

import (
	"fmt"
	"io"
)

// fleetResult is all that is printed.
type fleetResult struct {
	Machine    []string     `json:"machine"`
	Plan       fleetPlan    `json:"plan"`
	Rest       restRow      `json:"at_rest"`
	Push       pushRows     `json:"push"`
	Asks       []askRow     `json:"asks"`
	Everywhere costRow      `json:"asked_everywhere"` // one tag that nobody has, once at each edge
	Ledger     ledgerRow    `json:"ledger"`
	Objects    []objectsRow `json:"objects"`
}

// pushRows is what one push of a tag costs, medians.
type pushRows struct {
	Seconds      float64      `json:"seconds"`
	Acknowledged float64      `json:"acknowledged"` // other edges that knew of it when it was answered
	Harbors      float64      `json:"harbors"`      // that had the tag at the end of the window
	Rows         []messageRow `json:"rows"`
}

func (r *fleetResult) writeText(out io.Writer) {
	for _, line := range r.Machine {
		fmt.Fprintln(out, line)
	}
	p, others := r.Plan, r.Plan.Datacenters-1
	fmt.Fprintln(out, head("fleet", fmt.Sprintf("%d datacenters, an edge and a Harbor in each; %d projects; %v from one to another and back, %v to the own Harbor", p.Datacenters, p.Projects, 2*fleetFar, 2*fleetNear)))
	fmt.Fprintln(out, head("at rest", fmt.Sprintf("%.1f messages and %.1f kbit/s that one edge sends and is answered; %.1f MiB of heap an edge; %.0f %% of one processor for all of them", r.Rest.Messages, r.Rest.Bytes*8/1e3, r.Rest.Heap/mib, r.Rest.Busy*100)))
	fmt.Fprintln(out, head("pushes", fmt.Sprintf("medians of %d; answered after %.0f ms, when %.0f of %d others knew of it; %v later %.1f of %d Harbors had the tag", p.Pushes, r.Push.Seconds*1e3, r.Push.Acknowledged, others, p.Window, r.Push.Harbors, p.Datacenters)))
	fmt.Fprintf(out, "\n%-34s%9s%9s%12s%12s%12s\n", "one push of a tag", "before", "in all", "each other", "sent kB", "answers kB")
	for _, m := range r.Push.Rows {
		fmt.Fprintf(out, "%-34s%9.0f%9d%12.1f%12.1f%12.1f\n", wordsOf(m.Kind), m.Before, m.All.Messages, float64(m.All.Messages)/float64(others), float64(m.All.Out)/1e3, float64(m.All.In)/1e3)
	}
	fmt.Fprintf(out, "\n%-28s%-7s%8s%12s%13s%15s%9s%14s\n", "messages an answer", "", "asked", "own Harbor", "other edges", "other Harbors", "beside", "by this edge")
	for _, a := range r.Asks {
		for i, c := range []costRow{a.First, a.Later, a.Mean} {
			fmt.Fprintf(out, "%-28s%-7s%8d%12.2f%13.2f%15.2f%9.2f%14.2f\n", a.Work, []string{"first", "later", "mean"}[i], a.Asked, c.Own, c.Peers, c.Theirs, c.Beside, c.Own+c.Peers)
		}
	}
	e := r.Everywhere
	fmt.Fprintf(out, "%-28s%-7s%8d%12.0f%13.0f%15.0f%9.0f%14.0f\n", "nobody has it, asked at all", "all", p.Datacenters, e.Own, e.Peers, e.Theirs, e.Beside, e.Own+e.Peers)
	r.writeLedger(out)
	r.writeObjects(out)
	fmt.Fprintln(out, "\nwhat breaks first:")
	for i, line := range r.breaks() {
		fmt.Fprintf(out, "%d. %s\n", i+1, line)
	}
}

func (r *fleetResult) writeLedger(out io.Writer) {
	l := r.Ledger
	fmt.Fprintf(out, "\n%-44s%12s\n", "one edge's ledger", "")
	for _, row := range []struct {
		what, value string
	}{
		{fmt.Sprintf("told of %d tags by %d edges", l.Heard, r.Plan.Datacenters-1), ""},
		{"  bytes a tag", fmt.Sprintf("%.0f", l.Told)},
		{"  tags heard a second", fmt.Sprintf("%.0f", l.Hearing)},
		{"  tags asked back and proven a second", fmt.Sprintf("%.0f", l.Proving)},
		{fmt.Sprintf("knows of %d tags", l.Tags), ""},
		{"  state.db, MiB", fmt.Sprintf("%.0f", float64(l.Disk)/mib)},
		{"  heap, MiB", fmt.Sprintf("%.0f", l.Heap/mib)},
		{"  start, s", fmt.Sprintf("%.1f", l.Start)},
		{"  its Harbor is looked at after, s", fmt.Sprintf("%.1f", l.First)},
		{"  looks a second", fmt.Sprintf("%.1f", l.Looks)},
		{"  all looked at once, h", fmt.Sprintf("%.1f", l.round())},
	} {
		fmt.Fprintf(out, "%-44s%12s\n", row.what, row.value)
	}
}

// round is how long it takes an edge to look once whether its Harbor has each tag, in hours.
func (l *ledgerRow) round() float64 {
	if l.Looks == 0 {
		return 0
	}
	return float64(l.Tags) / l.Looks / 3600
}

func (r *fleetResult) writeObjects(out io.Writer) {
	fmt.Fprintf(out, "\n%-20s%10s%12s%14s%9s%12s%12s%10s%9s%10s\n", "a Harbor has", "projects", "registries", "replications", "robots", "pulls/h all", "objects all", "wanted s", "plan s", "peak MiB")
	for _, o := range r.Objects {
		fmt.Fprintf(out, "%-20s%10d%12d%14d%9d%12d%12d%10.1f%9.1f%10.0f\n", o.How, o.Projects, o.Registries, o.Policies, o.Robots, o.Pulls, o.Objects, o.Opening, o.Planning, o.Peak/mib)
		if all := float64(r.Plan.Projects) / float64(o.Projects); all > 1 {
			fmt.Fprintf(out, "%-20s%10d%12.0f%14.0f%9.0f%12.0f%12.0f%10.0f%9.0f%10.0f\n", "  worked out", r.Plan.Projects, float64(o.Registries)*all, float64(o.Policies)*all, float64(o.Robots)*all, float64(o.Pulls)*all, float64(o.Objects)*all, o.Opening*all, o.Planning*all, o.Peak*all/mib)
		}
	}
}

// breaks says what breaks first as a fleet grows, from what was measured.
func (r *fleetResult) breaks() (all []string) {
	p, l, others := r.Plan, r.Ledger, float64(r.Plan.Datacenters-1)
	if len(r.Objects) == 3 {
		o, g, c := r.Objects[0], r.Objects[1], r.Objects[2]
		times := float64(p.Projects) / float64(o.Projects)
		all = append(all, fmt.Sprintf("Replications of projects of their own: %.0f in each Harbor and %.0f scheduled pulls an hour in the fleet, which no Harbor lives through, and %.0f objects to plan. In groups they are %d and %d, with copies 3 %d and %d.",
			float64(o.Policies)*times, float64(o.Pulls)*times, float64(o.Objects)*times, g.Policies, g.Pulls, c.Policies, c.Pulls))
	}
	all = append(all,
		fmt.Sprintf("An edge that has to learn all tags again, or is new: each of %.0f others tells it all that it knows, %.1f GB for %d tags, and what was told first is asked back one by one, %.1f h at %.0f a second.", others, l.Told*float64(p.Tags)*others/1e9, p.Tags, hours(float64(p.Tags), l.Proving), l.Proving),
		fmt.Sprintf("The follower: an edge looks at most %.0f times a second whether its Harbor has a tag, so after a start with %d tags it takes %.1f h to look at each once; what is pushed meanwhile goes before. As each tag is to be seen each 6 h, %.1f million tags are what it can keep up with.", l.Looks, p.Tags, l.round(), l.Looks*6*3600/1e6))
	for _, a := range r.Asks {
		if a.Work == heldByThree {
			all = append(all, fmt.Sprintf("What three Harbors alone have though all should: %.0f questions at the first pull, and %.0f at each later one; nothing remembers who had it. With copies 3 written, the homes are asked.", a.First.Own+a.First.Peers, a.Later.Own+a.Later.Peers))
		}
	}
	if len(r.Asks) > 0 {
		a := r.Asks[0]
		all = append(all, fmt.Sprintf("The first 404 asks all: %.0f other edges and %.0f other Harbors; %.2f questions an answer over %d. Asked at all edges it is %.0f messages.", a.First.Peers, a.First.Theirs, a.Mean.Own+a.Mean.Peers, p.Asks, r.Everywhere.Peers+r.Everywhere.Theirs+r.Everywhere.Own+r.Everywhere.Beside))
	}
	messages := 0.0
	for _, m := range r.Push.Rows {
		messages += float64(m.All.Messages)
	}
	return append(all, fmt.Sprintf("Announcements last: a push is %.0f of them and %.0f messages in all, %.0f of one edge; at rest an edge sends %.1f messages a second, which grows with the datacenters, and the fleet %.0f, which grows with their square.", others, messages, messages/(others+1), r.Rest.Messages, r.Rest.Messages*(others+1)))
}

// hours is how long so many take, at so many a second.
func hours(all, second float64) float64 {
	if second == 0 {
		return 0
	}
	return all / second / 3600
}

// wordsOf is a kind of messages in the table of a push.
func wordsOf(kind string) string {
	return map[string]string{announced: "announcements", asksPeer: "other edges, is it true", harborOf + manifests: "the edge's own Harbor", harborOf + around: "  its tokens and projects",
		harborsOf + manifests: "all others' own Harbors", harborsOf + around: "  their tokens and projects"}[kind]
}
