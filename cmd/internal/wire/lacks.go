package wire

import (
	"strings"

	"example.org/breakwater/internal/daemon"
)

// What a report shows of the files that are not in force, beside what was found at a look.
const (
	notTaken     = "files.taken"
	needsRestart = "files.restart"
)

// restartLack is that a daemon has yet to be restarted for what its fleet file says.
func restartLack(r *daemon.Reloads) (lack daemon.Lack, ok bool) {
	fields := r.NeedRestart()
	return daemon.Lack{ID: needsRestart, What: "changed in the fleet file, and not in force: " + strings.Join(fields, ", "), Do: "restart it"}, len(fields) > 0
}

// lacks are what is wrong with what the edge needs. Why it did not take a file is in its
// report already.
func (e *Edge) lacks() (all []daemon.Lack) {
	if e.cfg.Lacks != nil {
		all = e.cfg.Lacks()
	}
	if lack, ok := restartLack(e.reloads); ok {
		all = append(all, lack)
	}
	return all
}

// lacks are what is wrong with what the name server needs.
func (g *GSLB) lacks() (all []daemon.Lack) {
	if g.cfg.Lacks != nil {
		all = g.cfg.Lacks()
	}
	if lack, ok := restartLack(g.reloads); ok {
		all = append(all, lack)
	}
	if _, fault := g.reloads.Last(); fault != "" {
		all = append(all, daemon.Lack{ID: notTaken, Fault: true, What: "its files were not taken, and what they said before stays: " + fault, Do: "mend what is named there"})
	}
	return all
}
