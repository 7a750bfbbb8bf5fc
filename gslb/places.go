package gslb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/oschwald/maxminddb-golang/v2"
)

// PlacesConfig is all that says where a client is.
type PlacesConfig struct {
	Datacenters []Datacenter // with the networks that are at home there
	Order       []int        // for clients of whom nothing is known; none: all are equally near to them
	Topology    string       // file: see the README; "": none
	GeoIP       string       // file: a MaxMind database; "": none
}

// Places says where clients are. Immutable: it is made anew when a file changes.
// Networks and topology come first, the longest prefix of both; then geography; then
// the declared order.
type Places struct {
	datacenters []Datacenter
	regions     []region
	table       table
	sum         uint64 // the same wherever all clients are in the same places

	// For explain alone; answers come from the table.
	topology string  // the file's name
	entries  []entry // networks and topology, sorted
	listed   []int   // by region: how many of them lead there
	geo      *maxminddb.Reader
}

// NewPlaces reads the files into memory. Its error names file and line, and what
// to do; nothing of a broken file takes effect.
func NewPlaces(cfg PlacesConfig) (*Places, error) {
	p := &Places{datacenters: cfg.Datacenters, topology: filepath.Base(cfg.Topology)}
	r := &regions{datacenters: cfg.Datacenters, known: map[string]uint16{}}
	unknown := region{says: "nothing is known of it"}
	for _, dc := range cfg.Order {
		unknown.groups = append(unknown.groups, []int{dc})
	}
	unknown.groups = r.after(unknown.groups, nil)
	last, err := r.intern(unknown)
	if err != nil {
		return nil, err
	}
	nowhere, err := r.intern(region{says: "its address cannot be on the internet, or is private and in no topology", nowhere: true, groups: unknown.groups})
	if err != nil {
		return nil, err
	}
	if cfg.Topology != "" {
		if p.entries, err = r.readTopology(cfg.Topology); err != nil {
			return nil, err
		}
	}
	networks, err := r.networks()
	if err != nil {
		return nil, err
	}
	p.entries = append(p.entries, networks...)
	lower := table{[]key{{}}, []uint16{last}}
	if cfg.GeoIP != "" {
		var geography table
		if geography, p.geo, err = r.readGeoIP(cfg.GeoIP, last); err != nil {
			return nil, fmt.Errorf("read the geographic database %s: %w", cfg.GeoIP, err)
		}
		lower = geography.over(lower)
	}
	p.regions, p.listed = r.all, make([]int, len(r.all))
	for _, e := range p.entries {
		p.listed[e.value]++
	}
	p.table = allAre(unroutable, nowhere).over(newTable(p.entries)).over(allAre(privateUse, nowhere).over(lower)).exact()
	p.sum = p.digest()
	if cfg.Topology != "" || cfg.GeoIP != "" {
		debug.FreeOSMemory() // reading takes several times of what stays
	}
	return p, nil
}

// Size is how many ranges of addresses there are, next to each other, and how many orders of
// datacenters they have.
func (p *Places) Size() (ranges, orders int) { return len(p.table.starts), len(p.regions) }

// digest is of which clients have which order of datacenters, whatever the files look like.
func (p *Places) digest() uint64 {
	orders := make([]string, len(p.regions))
	for i, r := range p.regions {
		orders[i] = fmt.Sprint(r.groups)
	}
	h, before := xxhash.New(), ""
	var start [16]byte
	for i, k := range p.table.starts { // there may be millions
		order := ""
		if n := p.table.values[i]; n != none {
			order = orders[n]
		}
		if order == before {
			continue
		}
		before = order
		binary.BigEndian.PutUint64(start[:], k.hi)
		binary.BigEndian.PutUint64(start[8:], k.lo)
		h.Write(start[:])     //nolint:errcheck // a hash takes all
		h.WriteString(order)  //nolint:errcheck // see above
		h.WriteString("\x00") //nolint:errcheck // see above
	}
	return h.Sum64()
}

// networks are those that the fleet file says are at home in a datacenter.
func (r *regions) networks() (entries []entry, err error) {
	owner := map[netip.Prefix]string{}
	for i, dc := range r.datacenters {
		if len(dc.Networks) == 0 {
			continue
		}
		n, err := r.intern(region{says: "it is in a network of " + dc.Name, groups: r.after([][]int{{i}}, dc.Location)})
		if err != nil {
			return nil, err
		}
		for _, p := range dc.Networks {
			e := entryOf(p.Masked(), n)
			if other, twice := owner[e.prefix()]; twice && other != dc.Name {
				return nil, fmt.Errorf("%s is a network of %s and of %s: its clients are at home in one", p, other, dc.Name)
			}
			owner[e.prefix()] = dc.Name
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// find returns the client's region, and the length of the largest prefix around it
// that is in it as a whole.
func (p *Places) find(client netip.Addr) (region uint16, length int) {
	return p.table.find(client.Unmap())
}

// explain says where the client is, how that is known, and what follows.
func (p *Places) explain(client netip.Addr) string {
	client = client.Unmap()
	n, length := p.find(client)
	around, _ := client.Prefix(length) // fails for no length that find returns
	says, from := p.source(client, &p.regions[n])
	var groups []string
	for _, g := range p.regions[n].groups {
		var names []string
		for _, dc := range g {
			name := p.datacenters[dc].Name
			if to := p.datacenters[dc].Location; from != nil && to != nil {
				name += fmt.Sprintf(" (%.0f km)", from.Kilometres(*to))
			}
			names = append(names, name)
		}
		groups = append(groups, strings.Join(names, " and "))
	}
	return fmt.Sprintf("%s, as is all of %s; nearest first: %s", says, around, strings.Join(groups, ", then "))
}

// source says what put the client into the region; from is where it is, if distances
// from there did.
func (p *Places) source(client netip.Addr, in *region) (says string, from *Location) {
	rec := recordOf(p.geo, client)
	switch e, listed := longest(p.entries, client); {
	case in.nowhere:
		return in.says, nil
	case listed && e.line > 0:
		return fmt.Sprintf("%s (%s, %s:%d)", in.says, e.prefix(), p.topology, e.line), nil
	case listed:
		return fmt.Sprintf("%s (%s)", in.says, e.prefix()), nil
	case in.says == saysCoordinates:
		from = rec.place()
		return fmt.Sprintf("%s (%.2f, %.2f)", in.says, from.Latitude, from.Longitude), from
	case in.says == saysCountry:
		return fmt.Sprintf("%s (%s)", in.says, strings.Trim(rec.Country.ISOCode+", "+rec.Continent.Code, ", ")), nil
	}
	return in.says, nil
}

// unroutable is what no client's address is (RFC 6890).
var unroutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// privateUse is somebody's own, whose is known by the topology alone (RFC 1918, 6598, 4193).
var privateUse = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

// allAre gives all prefixes one value.
func allAre(prefixes []netip.Prefix, value uint16) table {
	var entries []entry
	for _, p := range prefixes {
		entries = append(entries, entryOf(p, value))
	}
	return newTable(entries)
}

// readFile reads a file that is no larger than the limit.
func readFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return nil, errors.New("it is no file")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, errors.Unwrap(err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("it became shorter while it was read: %w", err)
	}
	return data, nil
}
