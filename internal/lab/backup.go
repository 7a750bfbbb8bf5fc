package lab

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

var errStopped = errors.New("this Harbor is stopped")

// Stop takes Harbor away: connections are refused, replications and webhooks that have not
// begun wait, those that run fail at their next step.
func (h *Harbor) Stop() error {
	if h.down.Swap(true) {
		return nil
	}
	h.jobs.hold(true)
	return h.server.Close()
}

// Resume brings a Harbor back after Stop, where it was, on a plain TCP listener.
func (h *Harbor) Resume() error {
	if !h.down.Load() {
		return nil
	}
	if err := h.resume(); err != nil {
		return err
	}
	h.down.Store(false)
	h.jobs.hold(false)
	return nil
}

// Snapshot is a Harbor's backup: its database and content of one moment. The content lies
// in a directory below the Harbor's own.
type Snapshot struct {
	tables tables
	dir    string
}

// Snapshot makes a backup, while Harbor goes on.
func (h *Harbor) Snapshot() (*Snapshot, error) {
	dir, err := os.MkdirTemp(h.cfg.Dir, "backup-")
	if err != nil {
		return nil, err
	}
	h.db.mu.Lock() // what the database knows is in the registry already, and stays there meanwhile
	defer h.db.mu.Unlock()
	return &Snapshot{h.db.tables.copy(), dir}, copyDir(dir, h.content())
}

// Restore makes Harbor what it was at the snapshot, as often as wanted: with the same address
// and key, without sessions, and without the replications and webhooks that waited.
func (h *Harbor) Restore(s *Snapshot) error {
	return h.rebuild(s.tables.copy(), func() error { return copyDir(h.content(), s.dir) })
}

// Wipe makes Harbor a fresh one of the same address, administrator and key: it holds nothing
// but the project "library". Who had projects and robots in it makes them again.
func (h *Harbor) Wipe() error {
	return h.rebuild(newTables(), func() error { h.CreateProject("library", true); return nil })
}

func (h *Harbor) rebuild(t tables, fill func() error) error {
	if err := h.Stop(); err != nil {
		return err
	}
	h.jobs.forget()
	if err := os.RemoveAll(h.content()); err != nil {
		return err
	}
	h.db.mu.Lock()
	h.db.tables = t
	h.db.mu.Unlock()
	if err := fill(); err != nil {
		return err
	}
	return h.Resume()
}

// content is where distribution keeps what it has below its root.
func (h *Harbor) content() string { return filepath.Join(h.cfg.Dir, "docker") }

// copyDir copies a directory; one that is not there is empty.
func copyDir(to, from string) error {
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}

// copy returns tables that share nothing that changes: what is replaced as a whole when it
// changes is shared. Executions are, too: those of then have ended since.
func (t *tables) copy() tables {
	c := *t
	c.sessions = map[string]*session{}
	c.config, c.nextID = maps.Clone(t.config), maps.Clone(t.nextID)
	c.users, c.groups, c.robots, c.registries, c.policies = copies(t.users), copies(t.groups), copies(t.robots), copies(t.registries), copies(t.policies)
	c.retentions, c.preheaters = copies(t.retentions), copies(t.preheaters)
	for _, r := range c.retentions {
		r.runs = slices.Clone(r.runs)
	}
	c.executions, c.labels = slices.Clone(t.executions), slices.Clone(t.labels)
	c.projects = copies(t.projects)
	for _, p := range c.projects {
		p.own()
	}
	return c
}

// own makes a copied project independent of the one that it was copied of.
func (p *project) own() {
	p.Metadata, p.blobs, p.pending = maps.Clone(p.Metadata), maps.Clone(p.blobs), map[string]*pendingPull{}
	p.members, p.immutables, p.webhooks = copies(p.members), copies(p.immutables), copies(p.webhooks)
	p.preheats = copies(p.preheats)
	for _, o := range p.preheats {
		o.runs = slices.Clone(o.runs)
	}
	for _, w := range p.webhooks {
		w.triggered = maps.Clone(w.triggered)
	}
	repos := map[string]*repoRecord{}
	for name, rec := range p.repos {
		own := *rec
		own.artifacts, own.tags = map[string]*artifact{}, map[string]*tagRecord{}
		for d, a := range rec.artifacts {
			copied := *a
			own.artifacts[d] = &copied
		}
		for tag, r := range rec.tags {
			copied := *r
			own.tags[tag] = &copied
		}
		repos[name] = &own
	}
	p.repos = repos
}

func copies[T any](all []*T) []*T {
	out := slices.Clone(all)
	for i, v := range out {
		copied := *v
		out[i] = &copied
	}
	return out
}
