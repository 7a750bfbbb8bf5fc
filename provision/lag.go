package provision

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/artifact"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/repository"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/naming"
)

// Lag is what the tags of a multi-dc project at one datacenter's Harbor are ahead of another's.
type Lag struct {
	Project  string   `json:"project"` // as Harbors have it
	From     string   `json:"from"`    // the datacenter whose Harbor has it
	To       string   `json:"to"`      // the one whose Harbor has not
	Tags     int      `json:"tags"`    // at From
	Missing  int      `json:"missing"` // tags that To does not have
	Differ   int      `json:"differ"`  // tags that are another digest at To, and were put there earlier
	Oldest   float64  `json:"oldest_seconds"`
	Examples []string `json:"examples"` // repo:tag, the oldest first, three at most
}

const lagExamples = 3

// tagged is a tag as one Harbor has it.
type tagged struct {
	digest string
	pushed time.Time
}

// Lag compares the tags of multi-dc projects between the Harbors that hold them, of all projects or of those
// that are named as the fleet file does. Faults are Harbors that cannot say; there is no row of them.
// It reads /api/v2.0/projects/…/repositories/…/artifacts, a hundred artifacts a request.
func (p *Provisioner) Lag(ctx context.Context, projects []string) ([]Lag, []Fault, error) {
	items := p.options.Fleet.Projects.MultiDC.Items
	for _, name := range projects {
		if items[name] == nil {
			return nil, nil, fmt.Errorf("the fleet file has no multi-dc project %q", name)
		}
	}
	if len(projects) == 0 {
		projects = sortedKeys(items)
	}
	var mu sync.Mutex
	has := map[string]map[string]map[string]tagged{} // by datacenter, project, and repo:tag
	homes := homesByProject(p.options.Fleet, projects)
	faults := p.each(func(datacenter string, h *harbor) error {
		all := map[string]map[string]tagged{}
		for _, name := range projects {
			if !holds(homes[name], datacenter) {
				continue
			}
			project := p.options.Fleet.Project(naming.MultiDC, name)
			tags, err := h.tags(ctx, project)
			if err != nil {
				return err
			}
			all[project] = tags
		}
		mu.Lock()
		defer mu.Unlock()
		has[datacenter] = all
		return nil
	})
	now := time.Now()
	all := []Lag{}
	for _, name := range projects {
		project := p.options.Fleet.Project(naming.MultiDC, name)
		for _, from := range sortedKeys(has) {
			for _, to := range sortedKeys(has) {
				if from != to && holds(homes[name], from) && holds(homes[name], to) {
					all = append(all, lagOf(Lag{Project: project, From: from, To: to}, has[from][project], has[to][project], now))
				}
			}
		}
	}
	return all, faults, ctx.Err()
}

// lagOf completes l by what is at From and not at To.
func lagOf(l Lag, from, to map[string]tagged, now time.Time) Lag {
	var late []string
	for name, has := range from {
		there, ok := to[name]
		switch {
		case !ok:
			l.Missing++
		case there.digest != has.digest && !there.pushed.After(has.pushed):
			l.Differ++
		default:
			continue
		}
		late = append(late, name)
		l.Oldest = max(l.Oldest, now.Sub(has.pushed).Seconds())
	}
	slices.SortFunc(late, func(a, b string) int {
		return cmp.Or(from[a].pushed.Compare(from[b].pushed), strings.Compare(a, b))
	})
	l.Tags, l.Examples = len(from), append([]string{}, late[:min(len(late), lagExamples)]...)
	return l
}

// tags are all tags of a project, by repo:tag; none where Harbor has no such project.
func (h *harbor) tags(ctx context.Context, project string) (map[string]tagged, error) {
	repos, err := pages(func(page int64) ([]*models.Repository, error) {
		got, err := h.api.Repository.ListRepositories(ctx, repository.NewListRepositoriesParams().WithProjectName(project).WithPage(&page).WithPageSize(ptr(int64(pageSize))))
		if err != nil {
			return nil, err
		}
		return got.Payload, nil
	})
	if isCode(err, 404) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the repositories of %s: %w", project, plain(err))
	}
	var mu sync.Mutex
	all := map[string]tagged{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, repo := range repos {
		g.Go(func() error {
			name := strings.TrimPrefix(repo.Name, project+"/")
			artifacts, err := pages(func(page int64) ([]*models.Artifact, error) {
				// A name with a slash is escaped twice: Harbor's router unescapes it once before it looks for slashes.
				got, err := h.api.Artifact.ListArtifacts(ctx, artifact.NewListArtifactsParams().WithProjectName(project).WithRepositoryName(url.PathEscape(name)).
					WithPage(&page).WithPageSize(ptr(int64(pageSize))).WithWithTag(ptr(true)).WithQ(ptr("tags=*")))
				if err != nil {
					return nil, err
				}
				return got.Payload, nil
			})
			switch {
			case isCode(err, 404): // it was deleted meanwhile
				return nil
			case err != nil:
				return fmt.Errorf("list the artifacts of %s: %w", repo.Name, plain(err))
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range artifacts {
				for _, t := range a.Tags {
					all[repo.Name+":"+t.Name] = tagged{a.Digest, time.Time(t.PushTime)}
				}
			}
			return nil
		})
	}
	return all, g.Wait()
}
