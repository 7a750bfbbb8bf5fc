package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/proxy/announce"
	edgepeer "example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

// ledgerRow is what it costs one edge to know of all tags.
type ledgerRow struct {
	Heard   int     `json:"heard"`              // tags of which the edge is told while it runs
	Tags    int     `json:"tags"`               // of all
	Told    float64 `json:"told_bytes"`         // of announcements, a tag
	Hearing float64 `json:"heard_per_second"`   // tags
	Proving float64 `json:"proven_per_second"`  // tags of which the edge that told was asked whether that is so
	Disk    int64   `json:"disk_bytes"`         // of state.db with all
	Start   float64 `json:"start_seconds"`      // over that state.db
	Heap    float64 `json:"heap_bytes"`         // then
	First   float64 `json:"first_look_seconds"` // until the edge, once started, looks whether its own Harbor has the tags
	Looks   float64 `json:"looks_per_second"`   // at the own Harbor, after that
}

const fleetBatch = 500 // records of an announcement, as edges send them

// teller stands in for a datacenter's edge that has told of tags, and serves them.
type teller struct {
	w     *fleetWorld
	name  string
	first int // the number of its first tag
	tags  int
	asked *atomic.Int64 // how often it was asked whether what it told is so
	heard atomic.Uint64 // up to where it has heard of the edge's own log
}

func (t *teller) record(i int) version.Announced {
	n := t.first + i
	repo := t.w.projects[n%len(t.w.projects)] + "/app"
	tag := fmt.Sprintf("%s%07d", bulk, n)
	at := version.Version{Time: (ledgerTime+int64(n))<<16 + 1, Datacenter: t.name}
	return version.Announced{Repo: repo, Reference: tag, Record: version.Record{Digest: digest.FromBytes(fleetManifest(repo, tag)), MediaType: fleetIndex, Version: at}}
}

// ledgerTime is when the tags were pushed, in ms since 1970: some time ago.
const ledgerTime = 1_700_000_000_000

// ServeHTTP answers the edge that was told.
func (t *teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _ := strings.CutPrefix(r.URL.Path, edgepeer.Path)
	switch {
	case r.URL.Path == edgepeer.AnnouncePath:
		var b announce.Batch
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if b.After <= t.heard.Load() {
			t.heard.Store(max(t.heard.Load(), b.Until))
		}
		json.NewEncoder(w).Encode(announce.Position{Position: t.heard.Load(), Clock: b.Clock, Pulls: b.PullsUntil}) //nolint:errcheck // to memory
	case strings.Contains(path, "/manifests/"+bulk):
		t.asked.Add(1)
		repo, tag, _ := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/manifests/")
		n := 0
		fmt.Sscanf(strings.TrimPrefix(tag, bulk), "%d", &n) //nolint:errcheck // else it is told of another version
		body := fleetManifest(repo, tag)
		w.Header().Set(edgepeer.RecordHeader, version.Record{Version: t.record(n - t.first).Version}.Mark())
		w.Header().Set("Content-Type", fleetIndex)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(body).String())
		w.Write(body) //nolint:errcheck // to memory
	default:
		registry.WriteError(w, registry.Errorf(registry.CodeManifestUnknown, "there is no such thing"))
	}
}

// tell announces all of the teller's tags to the first edge, and counts the bytes.
func (t *teller) tell(ctx context.Context, told, bytesTold *atomic.Int64) error {
	show := edgepeer.NewKey(t.w.keys, t.name, time.Now).Shows(t.w.names[0])
	for after := 0; after < t.tags; {
		until := min(after+fleetBatch, t.tags)
		b := announce.Batch{Run: version.Run{Epoch: "bench", Run: "bench"}, Clock: time.Now().UnixMilli() << 16, After: uint64(after), Until: uint64(until), Last: uint64(t.tags)}
		for i := after; i < until; i++ {
			b.Records = append(b.Records, t.record(i))
		}
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.w.names[0]+".edge"+edgepeer.AnnouncePath, bytes.NewReader(text))
		if err != nil {
			return err
		}
		if err := show(req.Header); err != nil {
			return err
		}
		resp, err := answeredBy(ctx, t.w.edges[0].handler, incoming(req, text))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			answer, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("an announcement is answered %s: %s", resp.Status, answer)
		}
		told.Add(int64(until - after))
		bytesTold.Add(sizeOfRequest(req, text))
		after = until
	}
	return nil
}

// maxHeard is of how many tags the running edge is told. Each costs it what it costs with more;
// all of them are written down for it before it starts.
const maxHeard = 20_000

// measureLedger has one edge hear of tags from the edges of all other datacenters, and another
// one start that knows of all tags.
func measureLedger(ctx context.Context, p fleetPlan, dir string, progress io.Writer, r *fleetResult) error {
	l := &r.Ledger
	l.Tags, l.Heard = p.Tags, min(p.Tags, maxHeard)
	if err := l.measureHearing(ctx, p, filepath.Join(dir, "hearing"), progress); err != nil {
		return err
	}
	return l.measureKnowing(ctx, p, filepath.Join(dir, "knowing"), progress)
}

// tellers stand in for the edges of all datacenters but the first, with so many tags together.
func (w *fleetWorld) tellers(tags int) (all []*teller, asked *atomic.Int64) {
	w.net.far, w.net.near = 0, 0
	asked = &atomic.Int64{}
	each := (tags + len(w.names) - 2) / (len(w.names) - 1)
	for i, name := range w.names[1:] {
		t := &teller{w: w, name: name, first: i * each, tags: max(0, min(each, tags-i*each)), asked: asked}
		all, w.net.hosts[name+".edge"] = append(all, t), t
	}
	return all, asked
}

// measureHearing tells a running edge of tags, and sees it ask whether that is so.
func (l *ledgerRow) measureHearing(ctx context.Context, p fleetPlan, dir string, progress io.Writer) (err error) {
	w, err := newFleetWorld(p)
	if err != nil {
		return err
	}
	tellers, asked := w.tellers(l.Heard)
	if err = w.start(ctx, dir, 1); err == nil {
		if err = l.hear(ctx, tellers, asked, progress); err == nil {
			from, begun := asked.Load(), time.Now()
			for time.Since(begun) < ledgerWindow(p) && asked.Load() < int64(l.Heard) && err == nil {
				err = wayTakes(ctx, 100*time.Millisecond)
			}
			l.Proving = float64(asked.Load()-from) / time.Since(begun).Seconds()
		}
	}
	return errors.Join(err, w.close())
}

// measureKnowing writes all tags down, and starts an edge over that.
func (l *ledgerRow) measureKnowing(ctx context.Context, p fleetPlan, dir string, progress io.Writer) (err error) {
	fmt.Fprintf(progress, "write %d tags down\n", l.Tags)
	before := heapNow()
	w, err := newFleetWorld(p)
	if err != nil {
		return err
	}
	tellers, _ := w.tellers(l.Tags)
	file := filepath.Join(dir, w.names[0], "state.db")
	last, err := writeDown(ctx, file, w.names[0], tellers)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	l.Disk = info.Size()
	for _, t := range tellers {
		t.heard.Store(last)
	}
	fmt.Fprintln(progress, "start an edge that knows of them")
	begun := time.Now()
	if err = w.start(ctx, dir, 1); err == nil {
		l.Start = time.Since(begun).Seconds()
		for err == nil && w.net.total()[harborOf+manifests].Messages == 0 && time.Since(begun) < time.Minute {
			err = wayTakes(ctx, 50*time.Millisecond)
		}
		l.First = time.Since(begun).Seconds()
		looked := w.net.total()[harborOf+manifests].Messages
		begun = time.Now()
		err = errors.Join(err, wayTakes(ctx, ledgerWindow(p)))
		l.Looks = float64(w.net.total()[harborOf+manifests].Messages-looked) / time.Since(begun).Seconds()
		l.Heap = float64(heapNow() - before)
	}
	return errors.Join(err, w.close())
}

// writeDown writes all tags of the tellers into the ledger of a datacenter's edge, as ones that
// are certain, and returns the ledger's last position.
func writeDown(ctx context.Context, file, datacenter string, tellers []*teller) (last uint64, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 0, err
	}
	log := slog.New(slog.DiscardHandler)
	db, err := state.Open(file, log)
	if err != nil {
		return 0, err
	}
	ledger := version.New(version.Config{Datacenter: datacenter, State: db, Log: log, Now: time.Now})
	for _, t := range tellers {
		for i := 0; i < t.tags && ctx.Err() == nil; {
			var some []version.Announced
			for ; i < t.tags && len(some) < 10*fleetBatch; i++ {
				some = append(some, t.record(i))
			}
			ledger.Learn(t.name, some, false, nil)
		}
	}
	_, _, last = ledger.Since(0, 0)
	return last, errors.Join(ctx.Err(), db.Close())
}

// ledgerWindow is how long what goes on beside requests is looked at.
func ledgerWindow(p fleetPlan) time.Duration { return min(p.Window, 20*time.Second) }

// hear has the tellers tell, some at once.
func (l *ledgerRow) hear(ctx context.Context, tellers []*teller, asked *atomic.Int64, progress io.Writer) error {
	var told, bytesTold atomic.Int64
	begun := time.Now()
	done, end := context.WithCancel(ctx)
	defer end()
	go func() {
		for wayTakes(done, 10*time.Second) == nil {
			fmt.Fprintf(progress, "%d of %d tags heard, %d asked back\n", told.Load(), l.Heard, asked.Load())
		}
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, t := range tellers {
		group.Go(func() error { return t.tell(ctx, &told, &bytesTold) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	l.Hearing = float64(l.Heard) / time.Since(begun).Seconds()
	l.Told = float64(bytesTold.Load()) / float64(l.Heard)
	return nil
}
