package proxy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// driver decides what happens next in a world.
type driver struct {
	*world
	step int
}

const (
	stormSteps  = 250
	calmSteps   = 150
	mostClients = 8
	calmAfter   = 90 * time.Second // all is well: until then edges may still think that somebody is down
	agreeWithin = 30 * time.Minute
	agreeFor    = 2 * time.Minute
)

// cycle is a storm, a calm, and the agreement of all about every tag.
func (d *driver) cycle() {
	d.tags = []string{"v1", "v2", fmt.Sprintf("new-%d", d.step)}
	d.storm.Store(true)
	for range stormSteps {
		if d.isBroken() != nil {
			return
		}
		if d.dice(100) < 8 {
			d.disturb()
		}
		d.one(d.tags)
		d.wait(10)
	}
	d.heal()
	for end := time.Now().Add(calmAfter); !time.Now().After(end); time.Sleep(time.Second) {
		d.work()
	}
	for range calmSteps {
		if d.isBroken() != nil {
			return
		}
		d.one(d.tags[:1]) // what happened to the others in the storm is not to be covered up
		d.wait(0)
	}
	d.settle()
}

// one is one step of a client or of a Harbor. Clients write these tags only.
func (d *driver) one(written []string) {
	if d.step++; d.dice(2) == 0 {
		d.work()
	}
	all := d.allTags()
	edge, tag := worldDatacenters[d.dice(3)], all[d.dice(len(all))]
	repo, _, _ := strings.Cut(tag, ":")
	own := repo + ":" + written[d.dice(len(written))]
	harbor, other := d.harbors[d.dice(3)], d.harbors[d.dice(3)]
	switch n := d.dice(100); {
	case n < 40:
		d.client(func() { d.pull(edge, tag) })
	case n < 52:
		d.client(func() { d.push(edge, own) })
	case n < 62:
		d.client(func() {
			for _, knows := range d.push(edge, own) {
				d.pull(knows, own)
			}
		})
	case n < 65:
		d.client(func() { d.remove(edge, own) })
	case n < 97:
		d.work()
	case n < 98 && harbor != other && harbor.is() == "" && other.is() == "":
		d.pullAll(harbor, other)
	case n < 99:
		d.retain(harbor)
	default:
		d.backUp(harbor)
	}
}

// wait lets the fleet do something; slow is how often, of 100, that takes seconds.
func (d *driver) wait(slow int) {
	synctest.Wait()
	pause := time.Duration(d.dice(20)) * time.Millisecond
	if d.dice(100) < slow {
		pause = time.Duration(d.dice(3000)) * time.Millisecond
	}
	time.Sleep(pause)
	for d.clients.Load() >= mostClients {
		time.Sleep(10 * time.Millisecond)
	}
}

func (d *driver) client(do func()) {
	d.clients.Add(1)
	d.aside(func() {
		defer d.clients.Add(-1)
		do()
	})
}

// disturb breaks something, or mends it.
func (d *driver) disturb() {
	d.trouble()
	i := d.dice(3)
	h, e := d.harbors[i], d.edges[i]
	switch n := d.dice(100); {
	case e.life.Load() == nil:
		e.start(d.t)
		d.count("edges started again", 1)
	case n < 25:
		d.ail(h)
	case n < 60:
		d.cut(e.name)
	case n < 68 && h.is() == "":
		d.restore(h, n < 64)
	case n < 85:
		e.kill(d.t)
		d.count("edges killed", 1)
	case n < 94:
		e.stop(d.t)
		d.count("edges restarted", 1)
		e.start(d.t)
	}
}

// ail gives a Harbor a trouble, or takes it away.
func (d *driver) ail(h *memHarbor) {
	trouble := []string{"down", "hang", "502", "database"}[d.dice(4)]
	h.mu.Lock()
	if h.trouble != "" {
		trouble = ""
	}
	h.trouble = trouble
	h.mu.Unlock()
	d.noteAll("Harbor %s: %s", h.name, orWell(trouble))
	if trouble != "" {
		d.count("Harbors down", 1)
	}
}

// cut cuts ways between an edge and the others, or mends all that are cut: to one of them
// or to both, in one direction or in both.
func (d *driver) cut(name string) {
	how, both, far := []string{cutRefused, cutSilent}[d.dice(2)], d.dice(3) > 0, d.dice(4)
	var cuts []string
	d.mu.Lock()
	mend := len(d.cuts) > 0
	clear(d.cuts)
	for i, other := range worldDatacenters {
		if mend || other == name || i == far {
			continue
		}
		if d.cuts[name+" "+other] = how; both {
			d.cuts[other+" "+name] = how
		}
		cuts = append(cuts, other)
	}
	d.mu.Unlock()
	if mend {
		d.noteAll("all edges reach each other")
		return
	}
	d.noteAll("the way from %s to %v is cut, %s; both ways: %v", name, cuts, how, both)
	d.count("ways cut", len(cuts))
}

func orWell(trouble string) string {
	if trouble == "" {
		return "well"
	}
	return trouble
}

func (w *world) trouble() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubled = time.Now()
}

// heal mends everything.
func (w *world) heal() {
	w.storm.Store(false)
	for _, h := range w.harbors {
		h.mu.Lock()
		h.trouble = ""
		h.mu.Unlock()
	}
	w.mu.Lock()
	clear(w.cuts)
	w.mu.Unlock()
	for _, e := range w.edges {
		if e.life.Load() == nil {
			e.start(w.t)
		}
	}
	w.noteAll("all is mended")
	w.trouble()
}

// calm reports whether nothing is down, nor was for a while.
func (w *world) calm() bool {
	if w.storm.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.troubled) > calmAfter
}

// settle lets everything that is under way arrive, and holds what all say of each tag
// against the model. It ends when all have agreed for a while.
func (d *driver) settle() {
	d.noteAll("clients rest")
	var since time.Time
	for began := time.Now(); ; time.Sleep(15 * time.Second) {
		for range 1000 {
			if !d.work() {
				break
			}
			time.Sleep(time.Duration(d.dice(300)) * time.Millisecond)
		}
		d.idle()
		late := time.Since(began) > agreeWithin // or Harbors and edges undo each other's work for ever
		if d.tasksLeft() > 0 && !late {
			continue
		}
		for _, tag := range d.allTags() {
			for _, e := range d.edges {
				d.pull(e.name, tag)
			}
		}
		if d.isBroken() != nil {
			return
		}
		switch {
		case d.tasksLeft() > 0 || !d.agreed():
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if late || !since.IsZero() && time.Since(since) > agreeFor {
			break
		}
	}
	for _, tag := range d.allTags() {
		if err := d.model.agree(tag, d.says(tag)); err != nil {
			d.fail(tag, err)
		}
	}
	d.count("agreements of all", 1)
}

// says is what each edge and each Harbor says of a tag, "" for nothing. A Harbor whose
// retention has removed what the others have is not to have it again, nor one that is not to hold it.
func (d *driver) says(tag string) map[string]digest.Digest {
	says := map[string]digest.Digest{}
	repo, name, _ := strings.Cut(tag, ":")
	for _, e := range d.edges {
		resp, _, err := d.request(e.name, "HEAD", tag, "", "")
		if err == nil && resp.StatusCode != 200 && resp.StatusCode != 404 {
			err = fmt.Errorf("%s says %d", e.name, resp.StatusCode)
		}
		if err != nil {
			d.fail(tag, errors.Join(&fault{"e", "no answer, and nothing is down"}, err))
			return says
		}
		says[e.name] = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	for _, h := range d.harbors {
		at, _, _ := h.get(repo, name)
		h.mu.Lock()
		if _, ok := h.repo(repo).tags[name]; !ok {
			at = ""
			if kept := h.retained[tag]; kept != "" && kept == says[h.name] || d.cfg.away(h.name) {
				at = says[h.name]
			}
		}
		h.mu.Unlock()
		says["Harbor "+h.name] = at
	}
	return says
}

func (d *driver) agreed() bool {
	for _, tag := range d.allTags() {
		first, seen := digest.Digest(""), false
		for _, says := range d.says(tag) {
			if seen && says != first {
				return false
			}
			first, seen = says, true
		}
	}
	return true
}
