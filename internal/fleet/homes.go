package fleet

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Copies is in how many Harbors a project is; Everywhere is in all of them, as any number is
// that is no less than the datacenters.
type Copies int

// Everywhere is written as all.
const Everywhere Copies = math.MaxInt32

// copies is how a number of copies is written.
var copies = regexp.MustCompile(`^(all|[2-9]|[1-9][0-9]{1,3})$`)

func (c *Copies) parse(text string) error {
	switch {
	case text == "1":
		return errors.New("1 would have each project in one Harbor alone, and it would be gone with that; write 2 or more, or all")
	case !copies.MatchString(text):
		return fmt.Errorf("%q is no number of copies; write in how many Harbors a project is to be, 2 or more, or all", text)
	case text == "all":
		*c = Everywhere
		return nil
	}
	n, err := strconv.Atoi(text)
	*c = Copies(n)
	return err
}

// String is as it is written.
func (c Copies) String() string {
	if c == Everywhere {
		return "all"
	}
	return strconv.Itoa(int(c))
}

// Homes are the datacenters whose Harbors hold a multi-dc project, by name; the project is named
// as the file does. nil: all hold it, or each has what is pushed there alone, as nothing is replicated.
//
// Each datacenter draws a number for each project, and the highest have it (rendezvous hashing):
// one more copy is one more home, and another datacenter takes the place of one home of some
// projects, and of none of the others.
func (f *Fleet) Homes(project string) []string {
	m := f.Projects.MultiDC.Items[project]
	if !f.Replicated(project) || m.Copies == 0 || int(m.Copies) >= len(f.Datacenters) {
		return nil
	}
	drawn := make(map[string][sha256.Size]byte, len(f.Datacenters))
	for name := range f.Datacenters {
		drawn[name] = sha256.Sum256([]byte(name + "/" + project))
	}
	all := sorted(f.Datacenters)
	slices.SortStableFunc(all, func(a, b string) int {
		x, y := drawn[a], drawn[b]
		return bytes.Compare(y[:], x[:])
	})
	all = all[:m.Copies]
	slices.Sort(all)
	return all
}

// checkCopies reports projects that some Harbors alone cannot hold: what the others lack edges
// bring, which own the tags then.
func (f *Fleet) checkCopies(d *decoder) {
	const section = "projects.multi-dc"
	if at := section + ".defaults.copies"; d.written(at) {
		d.report(at, "it stands beside defaults; write %s.copies, or copies for each project", section)
	}
	for _, name := range sorted(f.Projects.MultiDC.Items) {
		path, p := section+"."+name, f.Projects.MultiDC.Items[name]
		for _, datacenter := range sorted(p.Datacenters) {
			if at := path + ".datacenters." + datacenter + ".copies"; d.written(at) {
				d.report(at, "in how many Harbors a project is, is the same in all datacenters; write it for the project")
			}
		}
		if f.Homes(name) == nil {
			continue
		}
		if at := path + ".immutable_tags"; p.keepsTags() {
			if !d.written(at) {
				at = section + ".defaults.immutable_tags"
			}
			d.report(at, "a Harbor that does not hold a project cannot keep its tags from being moved there; write copies: all for it, or leave immutable_tags out")
		}
		if p.Replication.Tags != TagsHarbor {
			continue
		}
		at := path + ".copies"
		if !d.written(at) {
			at = section + ".copies"
		}
		d.report(at, "where a Harbor does not hold a project edges bring what it lacks, and so they own the tags; %s, or copies: all", f.ownTagsInstead(d, path))
	}
}

// keepsTags reports whether some tags cannot be moved, in some datacenter.
func (m *MultiDC) keepsTags() bool {
	for _, over := range m.Datacenters {
		if len(over.Immutable) > 0 {
			return true
		}
	}
	return len(m.Immutable) > 0
}

// ownTagsInstead is what to write so that edges own the tags of a project, of which Harbors do.
func (f *Fleet) ownTagsInstead(d *decoder, project string) string {
	var what []string
	for _, path := range []string{project, "projects.multi-dc.defaults"} {
		if at := path + ".replication.tags"; d.written(at) {
			what = append(what, fmt.Sprintf("tags: edges for tags: harbor in line %d", d.lines[at]))
			break
		}
	}
	if lack := f.EdgesLack(); len(lack) > 0 {
		what = append(what, "what is missing for that ("+strings.Join(lack, ", ")+")")
	}
	return "write " + strings.Join(what, ", and ")
}

// idleCopies are numbers of copies by which nobody goes.
func (n *notes) idleCopies() {
	m, datacenters := &n.f.Projects.MultiDC, len(n.f.Datacenters)
	judge := func(path string, copies Copies, replicated bool) {
		switch {
		case copies == Everywhere:
		case int(copies) >= datacenters:
			n.idle(path, "it does nothing: there are no more datacenters than that, and so all Harbors hold it")
		case !replicated:
			n.idle(path, "it does nothing: without robots.sync the project is not replicated")
		}
	}
	judge("projects.multi-dc.copies", m.Copies, true)
	for _, name := range sorted(m.Items) {
		judge("projects.multi-dc."+name+".copies", m.Items[name].Copies, n.f.Replicated(name))
	}
}
