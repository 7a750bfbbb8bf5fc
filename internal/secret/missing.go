package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"example.org/breakwater/internal/fleet"
)

// unavailable is why nothing at all can be looked up in a place.
type unavailable struct{ error }

func (u unavailable) Unwrap() error { return u.error }

// Need looks up what a program cannot do without; what is unset is not needed. The error is
// everything that is missing, as Err says it.
func (s *Store) Need(ctx context.Context, refs ...fleet.Ref) error {
	for _, ref := range refs {
		s.Get(ctx, ref) //nolint:errcheck // it is gathered
	}
	return s.missing(refs)
}

// Err is everything that could not be looked up so far, a line a reference, each with the
// fields of the fleet file that lead there.
func (s *Store) Err() error { return s.missing(slices.Collect(maps.Keys(s.faults))) }

func (s *Store) missing(refs []fleet.Ref) error {
	fields := s.fleet.References()
	lines := map[string]int{}        // by what is said: the line of the file that it is of
	without := map[string][]string{} // places in the file, by why nothing can be looked up
	for _, ref := range refs {
		err := s.faults[ref]
		if err == nil {
			continue
		}
		written := ref
		if as, ok := s.as[ref]; ok {
			written = as
		}
		place, line := "", 0
		if at := fields[written]; len(at) > 0 {
			place, line = s.fleet.Where(at[0]), s.fleet.Line(at[0])
			if n := len(at) - 1; n > 0 {
				place += fmt.Sprintf(" (and %d more)", n)
			}
			place += ": "
		}
		if errors.As(err, new(unavailable)) {
			if text := place + ref.String(); !slices.Contains(without[err.Error()], text) {
				without[err.Error()] = append(without[err.Error()], text)
			}
			continue
		}
		lines[fmt.Sprintf("%s%s: %v", place, ref, err)] = line
	}
	for why, places := range without {
		slices.Sort(places)
		lines[fmt.Sprintf("%s\n  so there is no secret for\n    %s", why, strings.Join(places, "\n    "))] = math.MaxInt
	}
	var all []error
	inOrder := func(a, b string) int { return cmp.Or(cmp.Compare(lines[a], lines[b]), strings.Compare(a, b)) }
	for _, text := range slices.SortedFunc(maps.Keys(lines), inOrder) {
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}
