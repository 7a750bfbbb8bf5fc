package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// messageRow is a kind of message: how many one push causes, medians of the pushes.
type messageRow struct {
	Kind   string  `json:"kind"`
	Before float64 `json:"before_answer"` // messages until the client had its answer
	All    traffic `json:"in_all"`        // in the window
}

// restRow is what edges say to each other when nothing happens.
type restRow struct {
	Messages float64 `json:"messages_per_second"` // that one edge sends
	Bytes    float64 `json:"bytes_per_second"`    // both ways
	Heap     float64 `json:"heap_bytes"`          // of one edge
	Busy     float64 `json:"processor"`           // of one processor, the whole fleet
}

// askRow is what it costs to be asked for something.
type askRow struct {
	Work  string  `json:"work"`
	Asked int     `json:"asked"` // by clients
	First costRow `json:"first"` // the first time, median of the tags
	Later costRow `json:"later"` // each later time, mean
	Mean  costRow `json:"mean"`  // of all times
}

// costRow is what one answer costs: messages, by whom they go to.
type costRow struct {
	Own    float64 `json:"own_harbor"`    // of the edge that is asked
	Peers  float64 `json:"other_edges"`   // that it asks
	Theirs float64 `json:"other_harbors"` // that these ask
	Beside float64 `json:"beside"`        // Harbors' tokens and projects, of all
}

func costOf(t trafficOf) costRow {
	return costRow{Own: float64(t[harborOf+manifests].Messages), Peers: float64(t[asksPeer].Messages), Theirs: float64(t[harborsOf+manifests].Messages),
		Beside: float64(t[harborOf+around].Messages + t[harborsOf+around].Messages)}
}

func (c costRow) over(n float64) costRow {
	return costRow{c.Own / n, c.Peers / n, c.Theirs / n, c.Beside / n}
}

func (c costRow) and(o costRow, sign float64) costRow {
	return costRow{c.Own + sign*o.Own, c.Peers + sign*o.Peers, c.Theirs + sign*o.Theirs, c.Beside + sign*o.Beside}
}

// measureMessages has edges in all datacenters, and counts what they say to each other.
func measureMessages(ctx context.Context, p fleetPlan, dir string, progress io.Writer, r *fleetResult) (err error) {
	fmt.Fprintf(progress, "start %d edges\n", p.Datacenters)
	before := heapNow()
	w, err := newFleetWorld(p)
	if err != nil {
		return err
	}
	defer func() {
		if closed := w.close(); err == nil {
			err = closed
		}
	}()
	if err := w.start(ctx, filepath.Join(dir, "edges"), p.Datacenters); err != nil {
		return err
	}
	if err := w.warm(ctx, p); err != nil {
		return err
	}
	r.Rest = w.atRest(ctx, min(p.Window, 12*time.Second))
	r.Rest.Heap = float64(heapNow()-before) / float64(p.Datacenters)
	fmt.Fprintf(progress, "push %d tags\n", p.Pushes)
	if err := w.pushes(ctx, p, r); err != nil {
		return err
	}
	fmt.Fprintf(progress, "ask for what nobody has, and for what few have\n")
	return w.asks(ctx, p, r)
}

// heapNow is how much memory is in use, after what is not has been given back.
func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// warm waits until all edges hear each other, and pushes a tag into each project that pushes
// are measured in: each edge has its tokens then.
func (w *fleetWorld) warm(ctx context.Context, p fleetPlan) error {
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for n := 0; ; n++ {
		acknowledged, err := w.push(patience, 0, w.projects[0], fmt.Sprint("hello", n))
		if err != nil {
			return fmt.Errorf("the edges do not hear each other: %w", err)
		}
		if countOf(acknowledged) == len(w.names)-1 {
			break
		}
		if err := wayTakes(patience, time.Second); err != nil {
			return fmt.Errorf("of %d other edges %d hear of a push", len(w.names)-1, countOf(acknowledged))
		}
	}
	for i := range p.Pushes {
		if _, err := w.push(ctx, 0, w.projects[i], "warm"); err != nil {
			return err
		}
	}
	return wayTakes(ctx, min(p.Window, 10*time.Second))
}

// countOf is how many there are in a list.
func countOf(list string) int {
	if list == "" {
		return 0
	}
	return strings.Count(list, ",") + 1
}

// atRest counts what edges say to each other while nothing is pushed or pulled.
func (w *fleetWorld) atRest(ctx context.Context, d time.Duration) (r restRow) {
	before, begun := w.net.total()[atRest], time.Now()
	_, own := busy()
	wayTakes(ctx, d) //nolint:errcheck // what follows says so
	now, seconds := w.net.total()[atRest], time.Since(begun).Seconds()
	_, ownNow := busy()
	each := seconds * float64(len(w.names))
	r.Messages = float64(now.Messages-before.Messages) / each
	r.Bytes = float64(now.Out+now.In-before.Out-before.In) / each
	r.Busy = (ownNow - own).Seconds() / seconds
	return r
}

// pushes measures pushes through the first edge.
func (w *fleetWorld) pushes(ctx context.Context, p fleetPlan, r *fleetResult) error {
	var before, after []trafficOf
	var took, heard []float64
	for i := range p.Pushes {
		tag, project := fmt.Sprint("v1.0.", i), w.projects[i]
		d := digestOf(project, tag)
		w.net.watch(project, w.names[0], tag, d)
		begun := time.Now()
		acknowledged, err := w.push(ctx, 0, project, tag)
		if err != nil {
			return err
		}
		took, heard = append(took, time.Since(begun).Seconds()), append(heard, float64(countOf(acknowledged)))
		before = append(before, w.net.seen(project))
		if err := wayTakes(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
	if err := wayTakes(ctx, p.Window); err != nil {
		return err
	}
	there := 0
	for i := range p.Pushes {
		after = append(after, w.net.seen(w.projects[i]))
		for _, h := range w.harbors {
			if h.tag(w.projects[i]+"/app", fmt.Sprint("v1.0.", i)) != "" {
				there++
			}
		}
	}
	r.Push.Seconds, r.Push.Acknowledged = middle(took), middle(heard)
	r.Push.Harbors = float64(there) / float64(p.Pushes)
	for _, kind := range []string{announced, asksPeer, harborOf + manifests, harborOf + around, harborsOf + manifests, harborsOf + around} {
		row := messageRow{Kind: kind, Before: middleOf(before, kind, func(t traffic) int64 { return t.Messages })}
		row.All.Messages = int64(middleOf(after, kind, func(t traffic) int64 { return t.Messages }))
		row.All.Out = int64(middleOf(after, kind, func(t traffic) int64 { return t.Out }))
		row.All.In = int64(middleOf(after, kind, func(t traffic) int64 { return t.In }))
		r.Push.Rows = append(r.Push.Rows, row)
	}
	return nil
}

func middleOf(all []trafficOf, kind string, of func(traffic) int64) float64 {
	var values []float64
	for _, t := range all {
		values = append(values, float64(of(t[kind])))
	}
	return middle(values)
}

// asks measures what is answered 404, and what few have.
func (w *fleetWorld) asks(ctx context.Context, p fleetPlan, r *fleetResult) error {
	spare := w.projects[p.Pushes:]
	signature := func(i int) string { return fmt.Sprintf("sha256-%064d.sig", i) }
	row, err := w.askFor(ctx, "a tag that nobody has", spare[0], []string{signature(0)}, p.Asks, http.StatusNotFound)
	if err != nil {
		return err
	}
	r.Asks = append(r.Asks, row)
	var many []string
	for i := range p.Missing {
		many = append(many, signature(i+1))
	}
	if row, err = w.askFor(ctx, fmt.Sprintf("%d tags that nobody has", p.Missing), spare[0], many, p.Asks, http.StatusNotFound); err != nil {
		return err
	}
	r.Asks = append(r.Asks, row)
	w.net.watch(spare[1], w.names[0])
	for edge := range w.edges {
		if err := w.pull(ctx, edge, spare[1], signature(0), http.StatusNotFound); err != nil {
			return err
		}
	}
	r.Everywhere = costOf(w.net.seen(spare[1]))
	if row, err = w.askFor(ctx, heldByThree, spare[2], w.held(spare[2], 20), 5, http.StatusOK); err != nil {
		return err
	}
	r.Asks = append(r.Asks, row)
	return w.asksCopies(ctx, p, r, many)
}

const heldByThree = "3 Harbors alone have it"

// asksCopies measures projects that three Harbors hold by the fleet file: each edge knows which.
func (w *fleetWorld) asksCopies(ctx context.Context, p fleetPlan, r *fleetResult, missing []string) error {
	projects := slices.Sorted(maps.Keys(w.homes))
	row, err := w.askFor(ctx, "copies 3: nobody has it", projects[0], missing, p.Asks, http.StatusNotFound)
	if err != nil {
		return err
	}
	r.Asks = append(r.Asks, row)
	var pushed []string
	for i := range 20 {
		pushed = append(pushed, fmt.Sprint("v2.0.", i))
		if _, err := w.push(ctx, 1, projects[1], pushed[i]); err != nil {
			return err
		}
	}
	if err := wayTakes(ctx, 2*fleetLate); err != nil {
		return err
	}
	row, err = w.askFor(ctx, "copies 3: pushed elsewhere", projects[1], pushed, 5, http.StatusOK)
	r.Asks = append(r.Asks, row)
	return err
}

// held puts tags into three Harbors each, of other datacenters than the first, past all edges.
func (w *fleetWorld) held(project string, n int) (tags []string) {
	dice := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		tag := fmt.Sprint("held", i)
		tags = append(tags, tag)
		for _, at := range dice.Perm(len(w.harbors) - 1)[:3] {
			h := w.harbors[at+1]
			h.has(project+"/app", tag)
		}
	}
	return tags
}

// askFor asks the first edge for each tag so many times.
func (w *fleetWorld) askFor(ctx context.Context, work, project string, tags []string, times, want int) (r askRow, err error) {
	r = askRow{Work: work, Asked: len(tags) * times}
	var firsts []costRow
	for _, tag := range tags {
		for n := range times {
			if n < 2 {
				w.net.watch(project, w.names[0])
			}
			if err := w.pull(ctx, 0, project, tag, want); err != nil {
				return r, err
			}
			if n == 0 {
				firsts = append(firsts, costOf(w.net.seen(project)))
			}
		}
		r.Later = r.Later.and(costOf(w.net.seen(project)), 1)
	}
	for _, f := range firsts {
		r.Mean = r.Mean.and(f, 1)
	}
	r.Mean = r.Mean.and(r.Later, 1).over(float64(r.Asked))
	r.Later = r.Later.over(float64(len(tags) * (times - 1)))
	r.First = middleCost(firsts)
	return r, nil
}

// middleCost is the median of each column.
func middleCost(all []costRow) costRow {
	of := func(column func(costRow) float64) float64 {
		var values []float64
		for _, c := range all {
			values = append(values, column(c))
		}
		return middle(values)
	}
	return costRow{of(func(c costRow) float64 { return c.Own }), of(func(c costRow) float64 { return c.Peers }),
		of(func(c costRow) float64 { return c.Theirs }), of(func(c costRow) float64 { return c.Beside })}
}
