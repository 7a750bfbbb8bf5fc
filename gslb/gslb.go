// Package gslb answers for the fleet's names over DNS: with the nearest healthy
// datacenter for the client that asks. What is answered is a pure function of the
// zone, the datacenters' health and the client's network (decide.go); sockets,
// probes and files are around it. README.md lists the rules.
package gslb

import (
	"net/netip"
	"time"
)

// Datacenter is one place that clients may be sent to.
type Datacenter struct {
	Name        string
	Backup      bool // answered only when no primary can be
	Weight      int  // share among those that are equally near; 0 counts as 1
	Location    *Location
	Networks    []netip.Prefix // clients that are at home here
	Addresses   []netip.Addr   // what is answered, by family
	NameServers []netip.Addr   // glue of ns-<name> in the zone; none: it runs no name server
}

// Location is where a datacenter is; what is not known is the zero value.
type Location struct {
	Latitude, Longitude float64 // degrees
	Country, Continent  string  // ISO 3166-1 alpha-2, and MaxMind's code: AF AN AS EU NA OC SA; for databases without coordinates
}

// Zone is one delegated zone. Its apex has SOA and NS records; the names that are
// answered with datacenters' addresses are at the apex or below.
type Zone struct {
	Origin string // lower case, with the final dot
	Mbox   string // of the SOA (RFC 1035, section 3.3.13), with the final dot
	Names  []Name
	// ACMEChallenge is where _acme-challenge.<name> leads for each of the names (a CNAME;
	// RFC 8555, section 8.4): a name in another zone, with the final dot; "": nowhere.
	ACMEChallenge string
	// The TTLs of SOA, NS and the name servers' addresses, in whole seconds; 0: an hour. The
	// SOA's bounds how long is remembered that there is nothing.
	SOATTL, NSTTL, GlueTTL time.Duration
}

// Name is one name that is answered with a datacenter's addresses.
type Name struct {
	Name   string // lower case, with the final dot
	Method Method
	Panic  Panic
	TTL    time.Duration // whole seconds
	// Members are the datacenters that may be answered, in declared order, as
	// indexes into the fleet's list.
	Members []int
	// MinPrimaries: with fewer healthy primaries than this, backups count beside
	// them, by distance; 0 counts as 1: backups only when there is no primary.
	MinPrimaries int
}

// Method is how a name's datacenter is chosen.
type Method string

// The methods.
const (
	Nearest  Method = "nearest"  // healthy, by distance; by weight where equally near
	Failover Method = "failover" // the first healthy one in declared order
	Static   Method = "static"   // the first in declared order that is not drained, whatever its health
)

// Panic is what is answered when no datacenter is healthy.
type Panic string

// The panic policies.
const (
	PanicAll      Panic = "all"       // as if all were healthy
	PanicLastGood Panic = "last-good" // who was healthy last; then all
	PanicBackup   Panic = "backup"    // the backups; then all
	PanicNodata   Panic = "nodata"    // an empty answer
)
