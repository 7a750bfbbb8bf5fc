package gslb

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	maxGeoIP = 1 << 30 // bytes
	// Writers share subtrees at most for the places where IPv6 has IPv4 again, and these are
	// left out. A search tree that has far more leaves than nodes would take for ever.
	maxLeaves = 8 // for each node
)

// record is what is read of a MaxMind record (the GeoIP2 City and Country schemas).
type record struct {
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Country struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
}

// place is where the record's coordinates are; nil without any, or with none on earth.
func (r *record) place() *Location {
	lat, lon := r.Location.Latitude, r.Location.Longitude
	if lat == nil || lon == nil || !(*lat >= -90 && *lat <= 90 && *lon >= -180 && *lon <= 180) { // nor NaN
		return nil
	}
	return &Location{Latitude: *lat, Longitude: *lon}
}

// readGeoIP turns a MaxMind database into regions: each of its networks belongs to an
// order of the datacenters. It is read into memory: a mapped file that is replaced in
// place takes the process down. Its Verify is not asked: it wants descriptions too, and
// all that counts is read here.
func (r *regions) readGeoIP(file string, unknown uint16) (t table, db *maxminddb.Reader, err error) {
	data, err := readFile(file, maxGeoIP)
	if err != nil {
		return t, nil, err
	}
	defer func() { // a database that only looks like one
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it is damaged: %v", fault)
		}
	}()
	if db, err = maxminddb.OpenBytes(data); err != nil {
		return t, nil, fmt.Errorf("it is no MaxMind database, or it was cut short: %w", err)
	}
	t, err = r.walk(db, unknown)
	return t, db, err
}

// walk lays out the database's networks, which come in order, IPv4 first. Those that IPv6
// makes of IPv4 (6to4, Teredo) are left out: they would triple the table for next to nobody.
func (r *regions) walk(db *maxminddb.Reader, unknown uint16) (table, error) {
	var v4, v6 table
	v6.begin(key{}, none)
	v4.begin(key{}, none)
	v4.begin(allIPv4.first, unknown) // so that what IPv6 has in its place does not count
	seen := map[uint32]uint16{}      // by the record's place in the file
	left := maxLeaves * (uint64(db.Metadata.NodeCount) + 1)
	located := false
	for network := range db.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if left--; left == 0 {
			return table{}, errors.New("it is damaged: its search tree is no tree")
		}
		if err := network.Err(); err != nil {
			return table{}, fmt.Errorf("it is damaged: %w", err)
		}
		if !network.Found() {
			continue
		}
		n, ok := seen[uint32(network.Offset())]
		if !ok {
			var rec record
			if err := network.Decode(&rec); err != nil {
				return table{}, fmt.Errorf("it is damaged at %s: %w", network.Prefix(), err)
			}
			located = located || rec.place() != nil || rec.Country.ISOCode != "" || rec.Continent.Code != ""
			var err error
			if n, err = r.ofRecord(rec); err != nil {
				return table{}, err
			}
			seen[uint32(network.Offset())] = n
		}
		if n == none {
			continue
		}
		e := entryOf(network.Prefix(), n)
		if network.Prefix().Addr().Is4() {
			v4.lay(e, unknown)
			continue
		}
		v6.lay(e, none)
		if e.first == (key{}) && e.length < 96 { // IPv4 is at ::/96 in a database, and not apart in this one
			v4.lay(entry{first: allIPv4.first, length: 96, value: n}, unknown)
		}
	}
	if !located {
		return table{}, errors.New("nothing in it says where a network is: want a City or Country database")
	}
	after, _ := allIPv4.last().next()
	v4.begin(after, none)
	return v4.over(v6), nil
}

// lay appends a network that comes after all that are in the table.
func (t *table) lay(e entry, behind uint16) {
	t.begin(e.first, e.value)
	if after, ok := e.last().next(); ok {
		t.begin(after, behind)
	}
}

// ofRecord is the region of a record; none where it says nothing.
func (r *regions) ofRecord(rec record) (uint16, error) {
	if from := rec.place(); from != nil {
		groups := r.after(nil, from)
		if len(groups) < 2 {
			return none, nil // one datacenter, or none whose place is known
		}
		return r.intern(region{says: saysCoordinates, groups: groups})
	}
	if groups := r.byCountry(rec.Country.ISOCode, rec.Continent.Code); groups != nil {
		return r.intern(region{says: saysCountry, groups: groups})
	}
	return none, nil
}

// recordOf is what a database says of an address, if there is one.
func recordOf(db *maxminddb.Reader, a netip.Addr) (rec record) {
	if db != nil {
		db.Lookup(a).Decode(&rec) //nolint:errcheck // all records were read
	}
	return rec
}
