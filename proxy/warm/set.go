package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/registry"
)

const (
	maxListed = 1000 // tags of one image that a schedule warms
	lookEvery = time.Minute
	pushFor   = time.Hour // that what was pushed is told of
)

// Pushed warms what a set takes of what was pushed at a time, here or elsewhere. What is told of the
// past, as peers tell it all to a new edge, is no push.
func (w *Warmer) Pushed(repo, tag string, at time.Time) {
	if w.cfg.Now().Sub(at) > pushFor {
		return
	}
	ns := w.cfg.Namespaces.OfRepo(repo)
	for _, s := range w.cfg.Sets() {
		if s.Push && s.Project == ns.Project && w.mine(s) && matches(s.Images, ns.Image(repo)) && (len(s.Tags) == 0 || matches(s.Tags, tag)) {
			if _, err := w.add(Push, w.all(s), Image{Repo: repo, Reference: tag, Platforms: s.Platforms}); errors.Is(err, ErrFull) {
				w.sayFull(repo, tag)
			}
		}
	}
}

// sayFull logs, once a minute at most, that a push is not warmed.
func (w *Warmer) sayFull(repo, tag string) {
	now := w.cfg.Now()
	w.mu.Lock()
	silent := now.Sub(w.saidFull) < time.Minute
	if !silent {
		w.saidFull = now
	}
	w.mu.Unlock()
	if !silent {
		w.cfg.Log.Warn("what was pushed is not warmed, and others may not be", "repo", repo, "tag", tag, "err", ErrFull.Error())
	}
}

func matches(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool { return naming.Match(glob, s) })
}

// mine reports whether this edge warms a set.
func (w *Warmer) mine(s Set) bool {
	return len(s.Datacenters) == 0 || slices.Contains(s.Datacenters, w.cfg.Datacenter)
}

// all are the datacenters whose edges warm a set.
func (w *Warmer) all(s Set) []string {
	if len(s.Datacenters) > 0 {
		return s.Datacenters
	}
	return w.datacenters()
}

// datacenters are those of the fleet's edges.
func (w *Warmer) datacenters() []string {
	names := []string{w.cfg.Datacenter}
	for _, s := range w.cfg.Peers() {
		names = append(names, s.Datacenter)
	}
	slices.Sort(names)
	return names
}

// clock warms sets when they are first seen, and then by their schedules, at the same times
// everywhere.
func (w *Warmer) clock(ctx context.Context) {
	seen := map[string]time.Time{} // when a set was looked at last
	ticker := time.NewTicker(min(lookEvery, 60*w.cfg.Pace))
	defer ticker.Stop()
	for {
		now, next := w.cfg.Now(), map[string]time.Time{}
		for _, s := range w.cfg.Sets() {
			if s.Every <= 0 || !w.mine(s) {
				continue
			}
			key := fmt.Sprintf("%+v", s)
			if last, known := seen[key]; !known || !now.Truncate(s.Every).Before(last) {
				w.warmSet(ctx, s)
			}
			next[key] = now
		}
		seen = next
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// warmSet queues the images of a set.
func (w *Warmer) warmSet(ctx context.Context, s Set) {
	for _, name := range s.Images {
		for _, tag := range w.tagsOf(ctx, s, s.Project+"/"+name) {
			if _, err := w.add(Clock, w.all(s), Image{Repo: s.Project + "/" + name, Reference: tag, Platforms: s.Platforms}); err != nil {
				w.cfg.Log.Warn("a warm set has what cannot be warmed", "project", s.Project, "err", err.Error())
			}
		}
	}
}

// tagsOf are the tags of an image that a set takes: globs are matched with its list.
func (w *Warmer) tagsOf(ctx context.Context, s Set, repo string) (all []string) {
	var globs []string
	for _, tag := range s.Tags {
		if registry.ValidTag(tag) { // a glob has characters that no tag has
			all = append(all, tag)
		} else {
			globs = append(globs, tag)
		}
	}
	if len(globs) == 0 {
		return all
	}
	q := w.question(registry.KindTags, w.cfg.Namespaces.OfRepo(repo).FullRepo(repo), "", "")
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Patience)
	defer cancel()
	list, err := w.cfg.Lists.Tags(ctx, q)
	if err != nil {
		w.cfg.Log.Warn("the tags of an image of a warm set cannot be listed; they are looked at again with the next run", "repo", repo, "err", err.Error())
	}
	for _, tag := range list.All {
		if matches(globs, tag) && len(all) < maxListed {
			all = append(all, tag)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
