package follow

import (
	"slices"
	"strings"
	"time"
)

// Others is what the projects are counted as that the fleet file does not have: what clients
// name is not bounded.
const Others = "others"

// Left is what Harbor is yet to be given.
type Left struct {
	Pending    int
	Projects   map[string]int // the pending by project; none stands for 0
	Oldest     time.Duration  // that one of them is pending
	GivenUp    int            // that Harbor was given in vain
	Tombstones int            // deletes that are remembered
}

// Left counts what Harbor is yet to be given. Nobody is asked.
func (f *Follower) Left() Left {
	declared := f.cfg.declared()
	f.mu.Lock()
	defer f.mu.Unlock()
	left, now := Left{Projects: map[string]int{}}, time.Now()
	for key, t := range f.tasks {
		if t.deleted {
			left.Tombstones++
		}
		switch {
		case t.givenUp:
			left.GivenUp++
		case !t.settled && !t.retained:
			project, _, _ := strings.Cut(key.Repo, "/")
			if !slices.Contains(declared, project) {
				project = Others
			}
			left.Pending++
			left.Projects[project]++
			left.Oldest = max(left.Oldest, now.Sub(t.lags))
		}
	}
	return left
}

// declared are the projects that are counted by name.
func (c Config) declared() []string {
	if c.Projects == nil {
		return nil
	}
	return c.Projects()
}

// Owed returns the tags of a repo that Harbor is yet to be given, or in vain was, and for how
// long that is so. Nobody is asked.
func (f *Follower) Owed(repo string) map[string]time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, now := map[string]time.Duration{}, time.Now()
	for key, t := range f.tasks {
		if key.Repo == repo && key.IsTag() && !t.settled && !t.retained && !t.lags.IsZero() {
			all[key.Reference] = now.Sub(t.lags)
		}
	}
	return all
}
