package gslb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxTopology       = 512 << 20 // bytes
	maxTopologyFaults = 20
)

// readTopology reads a topology file. Each line is a prefix and the datacenters of its
// clients in order of preference; those that are joined by commas are equally near:
//
//	10.1.0.0/16 par1 mad1
//	10.2.0.0/16 mad1,par1   # who shares them by weight
//
// Datacenters that a line does not name follow by their distance from its first one.
func (r *regions) readTopology(file string) ([]entry, error) {
	data, err := readFile(file, maxTopology)
	if err != nil {
		return nil, fmt.Errorf("read the topology %s: %w", file, err)
	}
	return r.parseTopology(filepath.Base(file), data)
}

func (r *regions) parseTopology(file string, data []byte) (entries []entry, err error) {
	entries = make([]entry, 0, bytes.Count(data, []byte("\n"))+1)
	orders := map[string]uint16{}
	var faults []fault
	for n, rest := uint32(1), data; len(rest) > 0 && len(faults) < maxTopologyFaults; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line, _, _ = bytes.Cut(line, []byte("#"))
		prefix, order, err := splitLine(string(line))
		if prefix == "" && err == nil {
			continue
		}
		e := entry{}
		if err == nil {
			e, err = r.parseLine(prefix, order, orders)
		}
		if err != nil {
			faults = append(faults, fault{n, err})
			continue
		}
		e.line = n
		entries = append(entries, e)
	}
	faults = append(faults, contradictions(entries)...)
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
		var all []error
		for _, f := range faults[:min(len(faults), maxTopologyFaults)] {
			all = append(all, fmt.Errorf("%s:%d: %w", file, f.line, f.error))
		}
		return nil, errors.Join(all...)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s says nothing: was it cut short? Restore it, or take gslb.topology out of the fleet file", file)
	}
	return entries, nil
}

// fault is what is wrong with a line.
type fault struct {
	line uint32
	error
}

// parseLine reads a line; orders are those that were read already.
func (r *regions) parseLine(prefix, order string, orders map[string]uint16) (entry, error) {
	p, err := parseNetwork(prefix)
	if err != nil {
		return entry{}, err
	}
	n, ok := orders[order]
	if !ok {
		if n, err = r.parseOrder(order); err != nil {
			return entry{}, err
		}
		orders[order] = n
	}
	return entryOf(p, n), nil
}

// contradictions are lines whose network stands on an earlier one with another order. It
// sorts the entries.
func contradictions(entries []entry) (faults []fault) {
	slices.SortFunc(entries, entry.compare)
	for i := len(entries) - 2; i >= 0; i-- {
		e, earlier := entries[i], entries[i+1] // of one network, the later line comes first
		if e.first != earlier.first || e.length != earlier.length {
			continue
		}
		if e.value != earlier.value {
			faults = append(faults, fault{e.line, fmt.Errorf("%s stands on line %d already, with another order", e.prefix(), earlier.line)})
		}
	}
	return faults
}

// splitLine returns a line's prefix and the rest, its words one space apart.
func splitLine(line string) (prefix, order string, err error) {
	words := strings.Fields(line)
	switch len(words) {
	case 0:
		return "", "", nil
	case 1:
		return "", "", fmt.Errorf("want a network and its datacenters, as 10.1.0.0/16 par1 mad1; there is only %q", words[0])
	}
	return words[0], strings.Join(words[1:], " "), nil
}

// parseNetwork takes IPv4 networks also as IPv6 writes them.
func parseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is no network; write 10.1.0.0/16 or 2001:db8::/48", text)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("%q is larger than all of IPv4; write 0.0.0.0/0", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%q has bits behind its length; write %s", text, p.Masked())
	}
	return p, nil
}

// parseOrder reads the datacenters of a line.
func (r *regions) parseOrder(text string) (uint16, error) {
	var groups [][]int
	seen := map[int]bool{}
	for _, word := range strings.Fields(text) {
		var group []int
		for _, name := range strings.Split(word, ",") {
			dc := slices.IndexFunc(r.datacenters, func(dc Datacenter) bool { return dc.Name == name })
			if dc < 0 {
				return none, fmt.Errorf("there is no datacenter %q; %s", name, r.hint(name))
			}
			if seen[dc] {
				return none, fmt.Errorf("%s stands there twice", name)
			}
			seen[dc] = true
			group = append(group, dc)
		}
		slices.Sort(group)
		groups = append(groups, group)
	}
	return r.intern(region{says: "it is in the topology file", groups: r.after(groups, r.datacenters[groups[0][0]].Location)})
}

// hint proposes the datacenter that a mistyped name is likely to mean.
func (r *regions) hint(name string) string {
	best, distance := "", 3
	var known []string
	for _, dc := range r.datacenters {
		known = append(known, dc.Name)
		if n := edits(name, dc.Name); n < distance {
			best, distance = dc.Name, n
		}
	}
	if best != "" && name != "" {
		return "do you mean " + best + "?"
	}
	return "known here: " + strings.Join(known, ", ")
}

// edits is how many letters have to change to get from one name to the other.
func edits(from, to string) int {
	from = from[:min(len(from), 64)] // no name is longer
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0]++
		for j := range len(to) {
			change := diagonal
			if from[i] != to[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
