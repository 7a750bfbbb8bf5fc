package access_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/access"
)

// holder is what outlasts a Checker of memberships: an access.Members.
type holder struct {
	mu    sync.Mutex
	all   map[string]int64
	last  map[string]time.Time // that it was joined
	joins int
	now   func() time.Time
}

func (h *holder) Join(repo string, d digest.Digest, project int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joins++
	h.all[repo+"@"+d.String()] = project
	if h.last != nil {
		h.last[repo+"@"+d.String()] = h.now()
	}
}

func (h *holder) Member(repo string, d digest.Digest) (int64, time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	project, ok := h.all[repo+"@"+d.String()]
	return project, h.last[repo+"@"+d.String()], ok
}

func (h *holder) Leave(repo string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.all {
		if len(key) > len(repo) && key[:len(repo)+1] == repo+"@" {
			delete(h.all, key)
		}
	}
}

// A membership is written once for a project, and outlasts a restart; it does not outlast a
// delete, nor the project.
func TestMembershipsOutlastARestart(t *testing.T) {
	c, p := &clock{time.Now()}, &project{}
	disk := &holder{all: map[string]int64{}, last: map[string]time.Time{}, now: c.now}
	p.created.Store(&c.at)
	p.id.Store(7)
	life := func() *access.Checker {
		return before(t, p.ServeHTTP, func(cfg *access.Config) { cfg.Now, cfg.Members = c.now, disk })
	}
	check, x, y := life(), digest.FromString("x"), digest.FromString("y")
	for range 3 {
		check.Join("a/x", x)
	}
	check.Join("a/y", x)
	check.Join("a/y", y)
	if disk.joins != 2+1+2 || len(disk.all) != 5 { // of the two repos, and of the project
		t.Errorf("written %d times: %v", disk.joins, disk.all)
	}
	for _, life := range []*access.Checker{check, life()} {
		life.Look(t.Context(), "a/x")
		if !life.Member("a/x", x) || life.Member("a/x", y) || !life.Member("a/y", x) || !life.ProjectHolds("a", y) || life.ProjectHolds("b", y) {
			t.Error("it is not what was joined")
		}
	}
	for _, step := range []struct {
		after time.Duration
		joins int
	}{{23 * time.Hour, 0}, {2 * time.Hour, 1}, {23 * time.Hour, 0}, {100 * 24 * time.Hour, 1}} { // what is in use is told again once a day
		c.at = c.at.Add(step.after)
		for _, life := range []*access.Checker{check, life()} {
			before := disk.joins
			life.Look(t.Context(), "a/x")
			for range 3 {
				if !life.Member("a/x", x) {
					t.Error("time alone ends no membership")
				}
			}
			if got := disk.joins - before; got != step.joins {
				t.Errorf("after %v: written %d times", step.after, got)
			}
			step.joins = 0 // it was told by the life before
		}
	}
	check.Leave("a/y")
	for _, life := range []*access.Checker{check, life()} {
		life.Look(t.Context(), "a/x")
		if !life.Member("a/x", x) || life.Member("a/y", x) || life.Member("a/y", y) {
			t.Error("not the one repo has left")
		}
	}
	p.id.Store(8)
	c.at = c.at.Add(time.Minute)
	for _, life := range []*access.Checker{check, life()} {
		life.Look(t.Context(), "a/x")
		if life.Member("a/x", x) || life.ProjectHolds("a", x) {
			t.Error("it is of the project before")
		}
	}
	before := disk.joins
	check.Join("a/x", x)
	if next := life(); disk.joins-before != 2 || next.Member("a/x", x) {
		t.Errorf("proven again: written %d times; it counts before it is known which project it is", disk.joins-before)
	}
}

// What is granted is of the project that has the name: the credentials of the one before get
// no outage token for its successor.
func TestAGrantIsOfItsProject(t *testing.T) {
	d, c, p := newDisk(), &clock{time.Now()}, &project{}
	p.created.Store(&c.at)
	p.id.Store(7)
	check := before(t, p.ServeHTTP, func(cfg *access.Config) {
		cfg.Now, cfg.Grants, cfg.OutageGrace, cfg.Keys = c.now, d, time.Hour, fleetKeys
	})
	remembers := func(authorization string) bool { return len(check.Remembered(authorization, []string{"a/x"})) == 1 }
	learn := func(authorization string) { check.Learn(authorization, []string{"a/x"}, []string{"a/x"}) }
	ci, cj := basic("ci", secret), basic("cj", secret)
	learn(ci)
	learn("")
	if !remembers(ci) || !remembers("") || remembers(cj) {
		t.Fatal("it is not what was granted")
	}
	p.id.Store(8)
	c.at = c.at.Add(time.Second)
	learn(cj) // a new user: Harbor is asked which project it is
	if remembers(ci) || remembers("") || !remembers(cj) {
		t.Error("what was granted in the project before counts in this one")
	}
	ill := before(t, http.NotFound, func(cfg *access.Config) { // it never says which project it is
		cfg.Now, cfg.OutageGrace, cfg.Projects = c.now, time.Hour, &named{all: map[string]namedProject{"a": {id: 7, asked: c.at.Add(-48 * time.Hour)}}}
	})
	if ill.Learn(ci, []string{"a/x"}, []string{"a/x"}); len(ill.Remembered(ci, []string{"a/x"})) != 0 {
		t.Error("what was granted in nobody knows which project counts")
	}
}

// A grant is not written again within ten minutes, and one that never was is not taken back.
func TestAGrantIsWrittenNowAndThen(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check, ci, begun := lives(t, d, c, nil), basic("ci", secret), c.at
	learn := func(given ...string) { check.Learn(ci, []string{access.Login}, given) }
	written := func() (at time.Time) {
		for _, at = range d.grants {
		}
		return at
	}
	for _, step := range []struct{ after, at time.Duration }{{0, 0}, {10*time.Minute - 1, 0}, {1, 10 * time.Minute}, {time.Minute, 10 * time.Minute}, {time.Hour, 71 * time.Minute}} {
		c.at = c.at.Add(step.after)
		if learn(access.Login); len(d.grants) != 1 || !written().Equal(begun.Add(step.at)) {
			t.Errorf("after %v it is of %v", c.at.Sub(begun), written().Sub(begun))
		}
	}
	check = lives(t, d, c, nil)
	if learn(); len(d.grants) != 0 {
		t.Error("what a process before wrote is not taken back")
	}
	d.grants["another"] = c.at
	if learn(); len(d.grants) != 1 {
		t.Error("another's is taken back")
	}
}

// The bound of one credential holds also where something of it was refused in between.
func TestARefusalDoesNotUncountGrants(t *testing.T) {
	d, c := newDisk(), &clock{time.Now()}
	check, ci := lives(t, d, c, nil), basic("ci", secret)
	for i := range 1500 {
		repo := fmt.Sprint("a/", i)
		check.Learn(ci, []string{repo}, []string{repo})
		if i%500 == 0 {
			check.Learn(ci, []string{repo}, nil)
		}
	}
	if n := len(d.grants); n != 1024 {
		t.Errorf("%d grants on disk", n)
	}
	for i, want := range map[int]int{400: 0, 600: 1, 1000: 0, 1499: 1} {
		if got := check.Remembered(ci, []string{fmt.Sprint("a/", i)}); len(got) != want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// All grants together, memberships and answers of Harbor have their bounds: the oldest are
// forgotten, and nothing stays of them.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	const bound = 1 << 16
	c := &clock{time.Now()}
	check := lives(t, nil, c, func(cfg *access.Config) { cfg.Grants = nil })
	logins := func(i int) (given []string) { return check.Remembered(strconv.Itoa(i), []string{access.Login}) }
	d := digest.FromString("content")
	for i := range bound + 1 {
		check.Learn(strconv.Itoa(i), []string{access.Login}, []string{access.Login})
		check.Join("a/"+strconv.Itoa(i), d)
	}
	if len(logins(0)) != 0 || len(logins(1)) != 1 || len(logins(bound)) != 1 {
		t.Error("grants are not bounded")
	}
	if check.Member("a/0", d) || !check.Member("a/2", d) || !check.Member("a/"+strconv.Itoa(bound), d) || !check.ProjectHolds("a", d) { // the project's is one of them
		t.Error("memberships are not bounded")
	}
}

// Credentials that are granted something and then nothing leave nothing behind.
func TestRefusedCredentialsTakeNoMemory(t *testing.T) {
	check := lives(t, nil, &clock{time.Now()}, func(cfg *access.Config) { cfg.Grants = nil })
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	begun := used()
	for i := range 20000 {
		check.Learn(strconv.Itoa(i), []string{access.Login}, []string{access.Login})
		check.Learn(strconv.Itoa(i), []string{access.Login}, nil)
	}
	if grown := int64(used()) - int64(begun); grown > 2<<20 {
		t.Errorf("they take %d KiB", grown>>10)
	}
	runtime.KeepAlive(check)
}

// Projects are bounded too: who asks for ever more names does not fill the memory.
func TestProjectsAreBounded(t *testing.T) {
	const bound = 1 << 12
	var asked atomic.Int64
	check := before(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Write([]byte("[]")) //nolint:errcheck // the client has gone
	}, func(cfg *access.Config) { cfg.Now = (&clock{time.Now()}).now })
	for i := range bound + 1 {
		check.Look(t.Context(), strconv.Itoa(i))
	}
	for _, name := range []string{"1", strconv.Itoa(bound), "0"} { // the first one is forgotten; it takes another one's place
		before := asked.Load()
		if check.Look(t.Context(), name); (asked.Load() != before) != (name == "0") {
			t.Errorf("%s is asked for again %d times", name, asked.Load()-before)
		}
	}
}
