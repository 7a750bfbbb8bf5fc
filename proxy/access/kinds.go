package access

import "maps"

// Kinds remembers across restarts of which kinds projects are declared whose names do not say it.
type Kinds interface {
	// Kinds returns them by project; ok is false where that cannot be read.
	Kinds() (all map[string]string, ok bool)
	// PutKinds replaces them.
	PutKinds(all map[string]string)
}

// eraBits are the bits of a project's id that are Harbor's. Above them is the era: how often the
// project has ceased to be of a kind. What is remembered of one era counts in no other.
const eraBits = 44

// era is the era of an id, in its place.
func (s seenProject) era() int64 {
	if s.id == noList || s.id == neverListed {
		return 0
	}
	return max(s.id, -s.id) >> eraBits << eraBits
}

// Declare takes over of which kinds the projects are that have names of their own. Where any is of
// a kind that it was not of before, news is called first: what it does is on disk before the kinds
// are, which are not where it fails. What was remembered of one that is of
// another kind now, or of none, is of another project: meanwhile it can change unseen. (Where
// projects are not told apart, neither are these.) Where it cannot be read what they were, all may
// have been of another.
func (c *Checker) Declare(kinds map[string]string, news func() error) {
	p := c.projects
	p.mu.Lock()
	defer p.mu.Unlock()
	lasting, _ := p.lasting.(Kinds)
	known := true
	if p.kinds == nil && lasting != nil {
		p.kinds, known = lasting.Kinds()
	}
	if !known {
		p.kinds = nil
		for project := range kinds {
			p.renew(project)
		}
	}
	for project, kind := range p.kinds {
		if kinds[project] != kind {
			p.renew(project)
		}
	}
	var err error
	for project, kind := range kinds {
		if p.kinds[project] != kind {
			err = news()
			break
		}
	}
	if lasting != nil && known && err == nil && !maps.Equal(p.kinds, kinds) {
		lasting.PutKinds(kinds)
	}
	p.kinds = maps.Clone(kinds)
}

// renew begins another era of a project; p.mu is held.
func (p *projects) renew(name string) {
	const era = 1 << eraBits
	s := p.recall(name)
	switch s.since = p.now(); {
	case s.listed() && s.id != noList:
		s.id += era
	case s.unlisted() && s.id != neverListed:
		s.id -= era
	}
	if s.saved = p.now(); p.lasting != nil {
		p.lasting.PutProject(name, s.id, s.asked, s.created, s.since)
	}
	p.seen.Add(name, s)
}

// isPrivate reports whether the repo's project is declared to be private under a name of its own.
// Nobody's token counts there, of whichever Harbor: before, each may have had a project of that
// name, for everybody to read.
func (c *Checker) isPrivate(repo string) bool {
	return c.cfg.Private != nil && c.cfg.Private(ProjectOf(repo))
}

// exposed reports whether Harbor shows everybody a project that is declared to be private under a
// name of its own: it is not yet the one that the other datacenters have.
func (c *Checker) exposed(project string) bool {
	if !c.isPrivate(project) || c.cfg.Harbor.Anonymous() {
		return false
	}
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	return c.projects.recall(project).public
}
