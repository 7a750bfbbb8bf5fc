package source

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

const (
	silentFor = 30 * time.Second // that a source is known to be silent, since it was
	maxSilent = 4096             // lines of one source that are known
)

// ErrHangs is the cause of a don't-know about a source that has been asked in vain before, and
// is not waited for as long as others.
var ErrHangs = errors.New("all who could be asked have been silent about this before")

// line is what a source may be silent about, and answer all else: one kind of request, in one
// project of a Harbor, because of the upstream behind it, or in one repo.
type line struct {
	kind registry.Kind
	of   string
}

// silence is that a source has given nothing of a line.
type silence struct {
	until time.Time
	hangs bool // it was waited for in vain; else it said that it cannot
}

// linesOf are the lines of a request: the wide one, and the repo's.
func (s *Source) linesOf(kind registry.Kind, repo string) [2]line {
	project, _, _ := strings.Cut(repo, "/")
	if s.Kind == Upstream { // it has no projects
		project = ""
	}
	return [2]line{{kind, project}, {kind, repo}}
}

// hear notes what came of a request, for those that follow: an answer, or why there is none.
func (s *Source) hear(req registry.Request, resp *http.Response, err error) {
	if err != nil {
		if timedOut(err) { // else it was not waited for, or broke off
			s.hang(req.Kind, req.Repo)
		}
		return
	}
	failed := FailsAll(resp.StatusCode) && resp.StatusCode != http.StatusTooManyRequests
	for _, l := range s.linesOf(req.Kind, req.Repo) {
		if !failed {
			s.silent.Remove(l)
			continue
		}
		before, _ := s.silent.Get(l)
		s.silent.Add(l, silence{s.Now().Add(silentFor), before.hangs && s.Now().Before(before.until)})
	}
}

// hang notes that a source has been silent about something for so long that it may never say.
func (s *Source) hang(kind registry.Kind, repo string) {
	for _, l := range s.linesOf(kind, repo) {
		s.silent.Add(l, silence{s.Now().Add(silentFor), true})
	}
}

// timedOut reports whether an error says that something was waited for in vain.
func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Shortened is what is left of a deadline for who is known to be silent.
func Shortened(deadline time.Duration) time.Duration { return deadline / 5 }

// silence returns what is known of a source that is to be asked for something in a repo.
func (s *Source) silence(kind registry.Kind, repo string) (silent, hangs bool) {
	for _, l := range s.linesOf(kind, repo) {
		if known, ok := s.silent.Get(l); ok && s.Now().Before(known.until) {
			silent, hangs = true, hangs || known.hangs
		}
	}
	return silent, hangs
}

// Hangs reports whether whoever asks the route for something would wait in vain, by what is
// known: nobody there is to be asked but sources that are silent about it, and one at least
// does not even say so.
func Hangs(route []Step, kind registry.Kind) bool {
	hanging := false
	for _, s := range route {
		silent, hangs := s.silence(kind, s.Repo)
		if s.Usable() && !silent {
			return false
		}
		hanging = hanging || hangs
	}
	return hanging
}
