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

// projects knows the id and the creation time of Harbor projects. A project that was
// deleted and made again has another id. projects asks the local Harbor with the edge's
// own robot. Where Harbor does not answer or does not say, nothing is known.
type projects struct {
	harbor *registry.Source
	now    func() time.Time
	asking singleflight.Group
	seen   *lru.Cache[string, seenProject]
}

// seenProject is what is known of a project.
type seenProject struct {
	id      int64 // 0: not known
	created time.Time
	private bool      // Harbor says that not everybody may read it
	asked   time.Time // when Harbor was last asked
}

const (
	maxProjects   = 1 << 12
	projectFor    = 30 * time.Second       // how long it is used before Harbor is asked again
	projectWait   = 500 * time.Millisecond // how long a request waits for Harbor's answer
	projectLeeway = 60 * time.Second       // how much older than its project a token may be, as in Harbor
)

func newProjects(cfg Config) (*projects, error) {
	seen, err := lru.New[string, seenProject](maxProjects)
	return &projects{harbor: cfg.Harbor, now: cfg.Now, seen: seen}, err
}

// get returns what is known of a project. Where that is older than projectFor, one caller
// asks Harbor and waits for at most projectWait. The other callers get the old answer.
func (p *projects) get(ctx context.Context, name string) seenProject {
	old, ok := p.seen.Get(name)
	if ok && p.now().Sub(old.asked) < projectFor {
		return old
	}
	if ok {
		renewed := old
		renewed.asked = p.now()
		p.seen.Add(name, renewed)
	}
	result := p.asking.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askDeadline)
		defer cancel()
		fresh, err := p.ask(ctx, name)
		if err != nil || fresh.id == 0 { // Harbor did not say, so the project may be the same
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

// ask asks Harbor for a project (GET /api/v2.0/projects?q=name=…). A robot of all projects
// may list them with its permission to pull.
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

		Metadata struct {
			Public string `json:"public"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&all); err != nil {
		return seen, fmt.Errorf("list projects: %w", err)
	}
	for _, project := range all {
		if project.Name == name {
			seen.id, seen.created, seen.private = project.ID, project.Created, project.Metadata.Public == "false"
		}
	}
	return seen, nil
}

// isOfProject reports whether a token is not older than the repo's project. An older one
// was issued for an earlier project with the same name.
func (c *Checker) isOfProject(ctx context.Context, token registry.Token, repo string) bool {
	name, _, _ := strings.Cut(repo, "/")
	return !token.IssuedAt.Add(projectLeeway).Before(c.projects.get(ctx, name).created)
}
