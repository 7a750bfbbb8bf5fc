package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/breakwater/registry"
)

// Projects remembers across restarts which project has a name.
type Projects interface {
	// PutProject remembers a project's id, when Harbor said it, when the project was made,
	// and when it was made again.
	PutProject(name string, id int64, asked, created, since time.Time)
	// Project returns that. The id is 0 where there is none.
	Project(name string) (id int64, asked, created, since time.Time)
}

// projects knows which project has a name now. A project that was deleted and made again
// has another id, and what is remembered of one is not the other's. projects asks the
// local Harbor with the edge's own robot, and remembers the answer across restarts.
type projects struct {
	harbor  *registry.Source
	lasting Projects // nil: nothing outlasts a restart
	now     func() time.Time

	mu    sync.Mutex
	seen  *lru.Cache[string, seenProject]
	looks map[string]*look // that are under way

	kinds map[string]string // of projects with names of their own; nil: not yet known

	changed time.Time // when any of them may have changed: what was asked before is not used without asking again
}

// seenProject is what is known of a project.
type seenProject struct {
	id      int64 // Harbor's with the era (kinds.go), or its negative once Harbor lists it no longer; noList, neverListed; 0: not known
	created time.Time
	since   time.Time // when it was made again, by this edge's clock; zero: that was not seen
	private bool      // Harbor says that not everybody may read it
	public  bool      // Harbor says that everybody may
	asked   time.Time // when the last question began that Harbor answered
	failed  time.Time // when the last one began that it did not
	saved   time.Time // asked, as it was last given to Projects
}

// look is a question to Harbor. Any number of requests wait for it.
type look struct {
	began time.Time // by the clock of projects
	since time.Time // by the process's own
	done  chan struct{}
}

// noList is the id of every project of a registry that has no list of projects for the
// edge: there projects are not told apart.
const noList = -1 << 62

// neverListed is the id of a project that Harbor does not list for the edge, and never did.
const neverListed = noList + 1

// listed reports whether Harbor's list had the project when it was asked last.
func (s seenProject) listed() bool { return s.id > 0 || s.id == noList }

// unlisted reports whether it had not: the project is gone, or it was made again and the
// edge's robot was not granted the new one. Which of them, an edge cannot see.
func (s seenProject) unlisted() bool { return s.id < 0 && s.id != noList }

// known is how long the answer is used before Harbor is asked again.
func (s seenProject) known() time.Duration {
	if s.unlisted() {
		return unlistedFor
	}
	return projectFor
}

// errNoList says so.
var errNoList = errors.New("there is no list of projects for this edge")

const (
	maxProjects   = 1 << 12
	projectFor    = 10 * time.Second       // how long it is used before Harbor is asked again
	unlistedFor   = 2 * time.Second        // the same, of one that Harbor does not list: it may be granted again
	projectAgain  = 5 * time.Second        // how long Harbor is not asked after it did not answer
	projectWait   = 500 * time.Millisecond // how long requests wait for Harbor's answer
	projectDoubt  = 2 * time.Second        // the same, of those who may well be of another project than the one that is known
	projectWatch  = time.Hour              // how often Harbor is asked though nobody comes
	projectSave   = 10 * time.Minute       // how often an answer that says nothing new is saved
	projectLeeway = 60 * time.Second       // how much older than its project a token may be, as in Harbor
	clockLeeway   = 2 * time.Second        // two clocks that differ by less count as the same: Harbor tells whole seconds
)

func newProjects(cfg Config) (*projects, error) {
	seen, err := lru.New[string, seenProject](maxProjects)
	p := &projects{harbor: cfg.Harbor, lasting: cfg.Projects, now: cfg.Now, seen: seen, looks: map[string]*look{}}
	for _, also := range []any{cfg.Members, cfg.Grants} {
		if lasting, ok := also.(Projects); ok && p.lasting == nil {
			p.lasting = lasting
		}
	}
	return p, err
}

// recall returns what is in memory, or was before a restart; p.mu is held.
func (p *projects) recall(name string) seenProject {
	s, ok := p.seen.Get(name)
	if !ok && p.lasting != nil {
		s.id, s.asked, s.created, s.since = p.lasting.Project(name)
		s.saved = s.asked
		p.seen.Add(name, s)
	}
	return s
}

// get returns what is known of a project by a question that began after a time and that is
// still used. Where there is none Harbor is asked, and waited for until the question is as old
// as wait: where it does not answer, what was known before is all that there is.
func (p *projects) get(ctx context.Context, name string, after time.Time, wait time.Duration) (s seenProject) {
	for range 3 { // a look that began too early is followed by another one
		p.mu.Lock()
		s = p.recall(name)
		now := p.now()
		if !s.asked.Before(after) && !s.asked.Before(p.changed) && now.Sub(s.asked) < s.known() || now.Sub(s.failed) < projectAgain {
			p.mu.Unlock()
			return s
		}
		l := p.looks[name]
		if l == nil {
			l = p.begin(ctx, name, now)
		}
		p.mu.Unlock()
		select {
		case <-l.done:
			continue
		case <-time.After(time.Until(l.since.Add(wait))):
		case <-ctx.Done():
		}
		return s
	}
	return s
}

// begin asks Harbor; p.mu is held.
func (p *projects) begin(ctx context.Context, name string, now time.Time) *look {
	l := &look{began: now, since: time.Now(), done: make(chan struct{})}
	p.looks[name] = l
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askDeadline)
		defer cancel()
		fresh, err := p.ask(ctx, name)
		p.mu.Lock()
		defer p.mu.Unlock()
		defer close(l.done)
		delete(p.looks, name)
		p.note(name, fresh, err, l.began)
	}()
	return l
}

// note takes an answer over, to a question that began at a time; p.mu is held.
func (p *projects) note(name string, fresh seenProject, err error, began time.Time) {
	known := p.recall(name)
	if fresh.id > 0 {
		fresh.id += known.era()
	}
	switch {
	case errors.Is(err, errNoList) && (known.id == 0 || known.id == noList):
		fresh = seenProject{id: noList, since: known.since}
	case err != nil: // Harbor did not say
		known.failed = began
		p.seen.Add(name, known)
		return
	case fresh.id == 0: // it is gone, or the robot may not see it
		fresh = known
		if fresh.id = min(known.id, -known.id); known.id == 0 || known.id == noList {
			fresh.id = neverListed
		}
	case known.id != 0 && known.id != noList && fresh.id > max(known.id, -known.id): // Harbor counts: a lower id is another Harbor's
		if known.asked.After(fresh.since) {
			fresh.since = known.asked
		}
	default:
		fresh.since = known.since
	}
	fresh.asked, fresh.failed, fresh.saved = began, time.Time{}, known.saved
	if p.lasting != nil && (fresh.id != known.id || began.Sub(known.saved) >= projectSave) {
		fresh.saved = began
		p.lasting.PutProject(name, fresh.id, began, fresh.created, fresh.since)
	}
	p.seen.Add(name, fresh)
}

// ask asks Harbor for a project (GET /api/v2.0/projects?q=name=…). A robot of all projects
// may list them with its permission to pull. since is the project's creation by this edge's
// clock.
func (p *projects) ask(ctx context.Context, name string) (seen seenProject, err error) {
	resp, err := p.harbor.API(ctx, "/api/v2.0/projects", url.Values{"q": {"name=" + name}, "page_size": {"1"}})
	if errors.Is(err, registry.ErrNoCredentials) {
		return seen, errNoList
	}
	if err != nil {
		return seen, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return seen, fmt.Errorf("list projects: %w", err)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return seen, fmt.Errorf("list projects: Harbor answers %s", resp.Status)
	}
	var all []struct {
		Name    string    `json:"name"`
		ID      int64     `json:"project_id"`
		Created time.Time `json:"creation_time"`

		Metadata struct {
			Public string `json:"public"`
		} `json:"metadata"`
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &all) != nil {
		return seen, errNoList
	}
	for _, project := range all {
		if project.Name == name {
			seen.id, seen.created, seen.private = project.ID, project.Created, project.Metadata.Public == "false"
			seen.public = project.Metadata.Public == "true"
			seen.since = seen.created
		}
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if ahead := p.now().Sub(at); ahead.Abs() > clockLeeway {
			seen.since = seen.created.Add(ahead)
		}
	}
	return seen, nil
}

// Look finds out which project the repo's is now, where that was not asked for a while.
func (c *Checker) Look(ctx context.Context, repo string) {
	c.lookAfter(ctx, repo, time.Time{}, projectWait)
}

// LookNow is Look, whenever it was asked last, for those who may well be of another project than
// the one that is known: a Harbor that is slow is waited for.
func (c *Checker) LookNow(ctx context.Context, repo string) {
	c.lookAfter(ctx, repo, c.cfg.Now(), projectDoubt)
}

// Confirms is LookNow, and reports whether Harbor has answered and lists the project, to nobody
// whom it is not meant for.
func (c *Checker) Confirms(ctx context.Context, repo string) bool {
	now := c.cfg.Now()
	s := c.lookAfter(ctx, repo, now, projectDoubt)
	return c.cfg.Harbor.Anonymous() || s.listed() && !s.asked.Before(now) && !c.exposed(ProjectOf(repo))
}

func (c *Checker) lookAfter(ctx context.Context, repo string, after time.Time, wait time.Duration) seenProject {
	return c.projects.get(ctx, ProjectOf(repo), after, wait)
}

// ProjectsChanged notes that a client has changed projects, or robots, at Harbor: which project
// a repo's is, is asked again before the next request.
func (c *Checker) ProjectsChanged() {
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	c.projects.changed = c.cfg.Now()
}

// Watch looks at the projects that were asked for, and at those of the names, once an hour:
// when an outage begins it is known which projects they are, though nobody came for a day.
func (c *Checker) Watch(ctx context.Context, names func() []string) {
	tick := time.NewTicker(projectWatch)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, name := range append(c.projects.seen.Keys(), names()...) {
			c.Look(ctx, name)
		}
	}
}

// Project returns the id of the repo's project as Harbor has last said it, or 0 where it
// did not within grantFor, or does not list the project any more. What is remembered of
// another id, or of 0, is of another project.
func (c *Checker) Project(repo string) int64 {
	if c.cfg.Harbor.Anonymous() {
		return noList
	}
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	s := c.projects.recall(ProjectOf(repo))
	if !s.listed() || c.cfg.Now().Sub(s.asked) >= grantFor {
		return 0
	}
	return s.id
}

// Unlisted reports whether Harbor answered, when it was asked last, and did not list the
// repo's project. Then it is gone, or it was made again and is not granted to the edge's
// robot: only Harbor itself knows who may have what there now, whatever is remembered. So it is
// of one that is declared to be private under a name of its own, while Harbor shows it to
// everybody: it gives its own content, and nothing of the other datacenters'.
func (c *Checker) Unlisted(repo string) bool {
	if c.cfg.Harbor.Anonymous() {
		return false
	}
	if c.exposed(ProjectOf(repo)) {
		return true
	}
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	return c.projects.recall(ProjectOf(repo)).unlisted()
}

// Has reports whether it is known which project has the name, and that it is there: Harbor
// lists it, or tells no projects apart.
func (c *Checker) Has(repo string) bool { return c.Project(repo) != 0 }

// Since returns when the repo's project was made again, by this edge's clock, zero where
// that was not seen.
func (c *Checker) Since(repo string) time.Time {
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	return c.projects.recall(ProjectOf(repo)).since
}

// ProjectOf is the name of a repo's project.
func ProjectOf(repo string) string {
	name, _, _ := strings.Cut(repo, "/")
	return name
}

// isOfProject reports whether a token is not older than the repo's project. An older one
// was issued for an earlier project with the same name. Who comes with a new token may be
// a user of a new project: Harbor is asked again. An edge's own token is of a project that
// Harbor had listed.
func (c *Checker) isOfProject(ctx context.Context, token verified, repo string) bool {
	s := c.lookAfter(ctx, repo, token.first, projectWait)
	return !token.IssuedAt.Add(projectLeeway).Before(s.created) && !(token.first.IsZero() && s.unlisted())
}
