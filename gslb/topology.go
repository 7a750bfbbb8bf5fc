package gslb

import (
	"bytes"
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
	lines := make(map[netip.Prefix]topologyLine, cap(entries))
	orders := map[string]uint16{}
	var faults []error
	for n, rest := 1, data; len(rest) > 0 && len(faults) < maxTopologyFaults; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line, _, _ = bytes.Cut(line, []byte("#"))
		prefix, order, err := splitLine(string(line))
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", file, n, err))
			continue
		}
		if prefix == "" {
			continue
		}
		p, err := parseNetwork(prefix)
		if err == nil {
			if _, ok := orders[order]; !ok {
				orders[order], err = r.parseOrder(order)
			}
		}
		if before, twice := lines[p]; err == nil && twice && before.region != orders[order] {
			err = fmt.Errorf("%s stands on line %d already, with another order", p, before.line)
		}
		if err != nil {
			delete(orders, order)
			faults = append(faults, fmt.Errorf("%s:%d: %w", file, n, err))
			continue
		}
		lines[p] = topologyLine{n, orders[order]}
		entries = append(entries, entryOf(p, orders[order]))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s says nothing: was it cut short? Restore it, or take gslb.topology out of the fleet file", file)
	}
	return entries, nil
}

type topologyLine struct {
	line   int
	region uint16
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
				var known []string
				for _, dc := range r.datacenters {
					known = append(known, dc.Name)
				}
				return none, fmt.Errorf("there is no datacenter %q; known here: %s", name, strings.Join(known, ", "))
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
