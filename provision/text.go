package provision

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Counted is a number of things: 1 object, 2 objects.
func Counted[N int | int64](n N, one string) string {
	text := strconv.FormatInt(int64(n), 10) + " " + one
	if n != 1 {
		text += "s"
	}
	return text
}

// named is how many of the things that the same is true of are named.
const named = 3

// few names the first of many things, and says how many more there are.
func few(names []string) string {
	if n := len(names) - named; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:named], ", "), n)
	}
	return strings.Join(names, ", ")
}

// Folded are findings for a person to read: what is the same of many projects is said once.
func Folded(findings []Finding) (all []Finding) {
	type same struct {
		before, after, message string
		isError                bool
	}
	at, names := map[same]int{}, map[same][]string{}
	for _, f := range findings {
		before, after, ok := strings.Cut(f.Field, "."+f.project)
		if !ok || f.project == "" {
			all = append(all, f)
			continue
		}
		s := same{before, after, f.Message, f.Error}
		if names[s] == nil {
			at[s] = len(all)
			all = append(all, f)
		}
		names[s] = append(names[s], f.project)
		if n := names[s]; len(n) > 1 {
			all[at[s]].Field = before + ".{" + few(n) + "}" + after
		}
	}
	return all
}

// note is what is to be known of an object, or without a kind of a datacenter.
type note struct {
	Key
	text string
}

func (n note) String() string {
	if n.Kind == "" {
		return n.Datacenter + ": " + n.text
	}
	return n.Key.String() + ": " + n.text
}

// folded says once what is true of many objects of a kind, and of several datacenters. The
// order is that of the first of each.
func folded(notes []note) (lines []string) {
	type same struct{ datacenter, kind, text string }
	var order []same
	names := map[same][]string{}
	for _, n := range notes {
		s := same{n.Datacenter, n.Kind, n.text}
		if names[s] == nil {
			order = append(order, s)
		}
		names[s] = append(names[s], n.Name)
	}
	var all []Fault // by datacenter
	for _, s := range order {
		text := s.text
		if s.kind != "" {
			text = s.kind + " " + few(names[s]) + ": " + s.text
		}
		if f := (Fault{Datacenter: s.datacenter, Message: text}); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	for _, f := range Together(all) {
		lines = append(lines, f.String())
	}
	return lines
}
