package gslb

import (
	"errors"
	"fmt"

	"github.com/oschwald/maxminddb-golang/v2"
)

const maxGeoIP = 1 << 30 // bytes

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

// readGeoIP turns a MaxMind database into regions: each of its networks belongs to
// an order of the datacenters, and nothing else of the database is kept. It is read
// into memory: a mapped file that is replaced in place takes the process down.
func (r *regions) readGeoIP(file string) (entries []entry, err error) {
	data, err := readFile(file, maxGeoIP)
	if err != nil {
		return nil, err
	}
	defer func() { // a database that only looks like one
		if fault := recover(); fault != nil {
			entries, err = nil, fmt.Errorf("it is damaged: %v", fault)
		}
	}()
	db, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("it is no MaxMind database, or it was cut short: %w", err)
	}
	// Its Verify is not asked: it wants descriptions too, and all that counts is read here.
	seen := map[uintptr]uint16{} // by the record's place in the file
	located := false
	for network := range db.Networks() {
		if err := network.Err(); err != nil {
			return nil, fmt.Errorf("it is damaged: %w", err)
		}
		n, ok := seen[network.Offset()]
		if !ok {
			var rec record
			if err := network.Decode(&rec); err != nil {
				return nil, fmt.Errorf("it is damaged at %s: %w", network.Prefix(), err)
			}
			located = located || rec.Location.Latitude != nil || rec.Country.ISOCode != "" || rec.Continent.Code != ""
			if n, err = r.ofRecord(rec); err != nil {
				return nil, err
			}
			seen[network.Offset()] = n
		}
		if n != none {
			entries = append(entries, entryOf(network.Prefix(), n))
		}
	}
	if !located {
		return nil, errors.New("nothing in it says where a network is: want a City or Country database")
	}
	return entries, nil
}

// ofRecord is the region of a record; none where it says nothing.
func (r *regions) ofRecord(rec record) (uint16, error) {
	if lat, lon := rec.Location.Latitude, rec.Location.Longitude; lat != nil && lon != nil {
		groups := r.after(nil, &Location{Latitude: *lat, Longitude: *lon})
		if len(groups) < 2 {
			return none, nil // one datacenter, or none whose place is known
		}
		return r.intern(region{says: "by its coordinates", groups: groups})
	}
	if groups := r.byCountry(rec.Country.ISOCode, rec.Continent.Code); groups != nil {
		return r.intern(region{says: "by its country or continent", groups: groups})
	}
	return none, nil
}
