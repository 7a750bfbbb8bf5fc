package access

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"example.org/breakwater/registry"
)

// projects knows which Harbor project a name is, and since when: one that was
// deleted and made again is another. The local Harbor is asked, with the edge's
// own robot; where it cannot be, or does not say, nothing is known.
type projects struct {
	harbor *registry.Source
	now    func() time.Time
	asking singleflight.Group
	seen   *lru.Cache[string, seenProject]
}

type seenProject struct {
	id      int64 // 0: not known
	created time.Time
	asked   time.Time
}

const (
	maxProjects   = 1 << 12
	projectFor    = 30 * time.Second // how long what is known of a project is believed
	projectWait   = 500 * time.Millisecond
	projectLeeway = 60 * time.Second // Harbor's, of a token's iat
)

func newProjects(cfg Config) (*projects, error) {
	seen, err := lru.New[string, seenProject](maxProjects)
	return &projects{harbor: cfg.Harbor, now: cfg.Now, seen: seen}, err
}

// get returns what is known of a project. Who finds it old waits a moment for what
// is new, and the others do not.
func (p *projects) get(ctx context.Context, name string) seenProject {
	old, ok := p.seen.Get(name)
	if ok && p.now().Sub(old.asked) < projectFor {
		return old
	}
	if ok {
		p.seen.Add(name, seenProject{old.id, old.created, p.now()})
	}
	result := p.asking.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askDeadline)
		defer cancel()
		fresh, err := p.ask(ctx, name)
		if err != nil || fresh.id == 0 { // it may be the same
			fresh = old
		}
		fresh.asked = p.now()
		p.seen.Add(name, fresh)
		return fresh, nil
	})
	timer := time.NewTimer(projectWait)
	defer timer.Stop()
	select {
	case r := <-result:
		return r.Val.(seenProject)
	case <-timer.C:
	case <-ctx.Done():
	}
	return old
}

// ask finds the project (GET /api/v2.0/projects?q=name=…): a robot of all projects
// may list them with no more than its permission to pull.
func (p *projects) ask(ctx context.Context, name string) (seen seenProject, err error) {
	resp, err := p.harbor.API(ctx, "/api/v2.0/projects", url.Values{"q": {"name=" + name}, "page_size": {"1"}})
	if err != nil {
		return seen, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return seen, fmt.Errorf("list projects: Harbor answers %s", resp.Status)
	}
	var all []struct {
		Name    string    `json:"name"`
		ID      int64     `json:"project_id"`
		Created time.Time `json:"creation_time"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&all); err != nil {
		return seen, fmt.Errorf("list projects: %w", err)
	}
	for _, project := range all {
		if project.Name == name {
			seen.id, seen.created = project.ID, project.Created
		}
	}
	return seen, nil
}

// isOfProject reports whether a token was issued for the repo's project as it is now.
func (c *Checker) isOfProject(ctx context.Context, token registry.Token, repo string) bool {
	name, _, _ := strings.Cut(repo, "/")
	return !token.IssuedAt.Add(projectLeeway).Before(c.projects.get(ctx, name).created)
}
