package preflight

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
)

// oldDatabase is when a geographic database is too old to be believed.
const oldDatabase = 90 * 24 * time.Hour

// tryGSLB looks at what the name server reads and writes, and at what it is to say.
func (m *machine) tryGSLB(_ context.Context, r *results) {
	f, g := m.Fleet, m.Fleet.GSLB
	if len(m.own.GSLB) == 0 {
		r.warn("no-address", "datacenters."+m.Datacenter+".gslb", "no address of this datacenter's name server is in the fleet file: the zone does not name it, and no resolver asks it",
			"write its public address into datacenters."+m.Datacenter+".gslb, and delegate to it")
	}
	if _, err := writeInto(filepath.Dir(g.State)); err != nil {
		r.fault("state", "gslb.state", fmt.Sprintf("gslb.state: nothing can be written beside %s: %s: drains do not outlast a restart", g.State, oneLine(err)),
			fmt.Sprintf("let user %d own %s", os.Getuid(), filepath.Dir(g.State)))
	}
	places := wire.Places(f)
	for _, file := range []struct{ id, field, path string }{{"topology", "gslb.topology", g.Topology}, {"geoip", "gslb.geoip", g.GeoIP}} {
		if file.path == "" {
			continue
		}
		alone := gslb.PlacesConfig{Datacenters: places.Datacenters, Order: places.Order}
		if file.id == "topology" {
			alone.Topology = file.path
		} else {
			alone.GeoIP = file.path
		}
		if _, err := gslb.NewPlaces(alone); err != nil {
			r.fault(file.id, file.field, fmt.Sprintf("%s: %s", file.field, oneLine(err)), readable(err, file.path))
			continue
		}
		r.say("%s is read", file.path)
	}
	m.tryAge(r)
	keys, faults := wire.SigningKeys(f)
	for _, fault := range faults {
		what, do := halves(oneLine(fault))
		r.fault("dnssec", fault.Field, f.Where(fault.Field)+": "+what, do)
	}
	if len(keys) > 0 {
		r.say("zones are signed with %d of its keys", len(keys))
	}
	r.say("state in %s", g.State)
}

// tryAge wants a geographic database of these days.
func (m *machine) tryAge(r *results) {
	path := m.Fleet.GSLB.GeoIP
	if path == "" || !r.well() {
		return
	}
	db, err := maxminddb.Open(path)
	if err != nil {
		return
	}
	defer db.Close()
	if built := time.Unix(int64(db.Metadata.BuildEpoch), 0); m.Now().Sub(built) > oldDatabase {
		r.warn("geoip-old", "gslb.geoip", fmt.Sprintf("%s was made on %s: networks have moved since", path, built.UTC().Format("2006-01-02")), "have it renewed each month, as geoipupdate does; the name server takes a new one while it runs")
	}
}
