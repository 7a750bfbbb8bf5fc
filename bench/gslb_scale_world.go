package main

import (
	"bufio"
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/gslb"
)

const (
	scaleName  = "h.example."
	scaleNear  = 8 // cities that a line of the topology names
	scaleTTL   = 30 * time.Second
	scaleSpeed = 100_000.0 // kilometres a second by fibre, with its detours
)

// scaleProbe is what the fleet file says where it says nothing.
var scaleProbe = gslb.ProbeConfig{Interval: time.Second, Timeout: 500 * time.Millisecond, Fall: 2, Rise: 3, Confirm: 200 * time.Millisecond, Hold: 5 * time.Second}

// metro is where clients live who have the same order of datacenters.
type metro struct {
	near    [][]int // datacenters, nearest first: those of a city are equally near
	clients []int32 // networks
}

// scaleWorld is a fleet, and who asks it.
type scaleWorld struct {
	datacenters []gslb.Datacenter
	metros      []metro
	names       []string // of the datacenters
	index       map[string]int
	drills      []*gslb.Drill
	reading     time.Duration // of the topology
}

// network is the client network of that number.
func (w *scaleWorld) network(i int32) netip.Prefix {
	n := uint32(16<<24) + uint32(i)<<8
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8)}), 24)
}

// newScaleWorld lays out cities, datacenters in them and clients around, and has the name
// servers read it: that of each datacenter.
func newScaleWorld(p scalePlan, n int) (*scaleWorld, error) {
	chance := rand.New(rand.NewPCG(p.Seed, uint64(n)))
	place := func() gslb.Location {
		return gslb.Location{Latitude: chance.Float64()*100 - 40, Longitude: chance.Float64()*360 - 180}
	}
	w := &scaleWorld{index: map[string]int{}}
	cities := make([]gslb.Location, max(2, n*3/5))
	for i := range cities {
		cities[i] = place()
	}
	cfg := gslb.Config{Probe: scaleProbe, Log: slog.New(slog.DiscardHandler), Witnesses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}}
	var members []int
	in := make([][]int, len(cities))
	for i := range n {
		city := i % len(cities)
		if i%4 >= 2 { // some cities are large
			city = i % max(1, len(cities)/10)
		}
		in[city] = append(in[city], i)
		name := fmt.Sprintf("dc%03d", i)
		dc := gslb.Datacenter{Name: name, Backup: i >= n-max(1, n/20), Weight: 1 + i%3, Location: &cities[city],
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}, NameServers: []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}}
		w.datacenters, w.names, members = append(w.datacenters, dc), append(w.names, name), append(members, i)
		w.index[name] = i
		cfg.Targets = append(cfg.Targets, gslb.Target{Datacenter: name, Kind: gslb.ProbeEdge, URL: "https://edge." + name + ".example.net", ServerName: "h.example"})
	}
	for range min(600, 4*len(cities)) {
		w.metros = append(w.metros, metroAt(place(), cities, in))
	}
	for i := 0; i < p.Clients; {
		m := &w.metros[int(float64(len(w.metros))*math.Pow(chance.Float64(), 1.5))]
		for range min(1+chance.IntN(128), p.Clients-i) {
			m.clients = append(m.clients, int32(i))
			i++
		}
	}
	w.metros = slices.DeleteFunc(w.metros, func(m metro) bool { return len(m.clients) == 0 })
	dir, err := os.MkdirTemp(p.Dir, "breakwater-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	topology := filepath.Join(dir, "topology")
	if err := w.writeTopology(topology); err != nil {
		return nil, err
	}
	cfg.Fleet = gslb.FleetConfig{Datacenters: w.datacenters, Topology: topology,
		Zones: []gslb.Zone{{Origin: scaleName, Mbox: "sre." + scaleName, Names: []gslb.Name{{Name: scaleName, Method: gslb.Nearest, Panic: gslb.PanicLastGood, TTL: scaleTTL, Members: members}}}}}
	begun := time.Now()
	w.drills, err = gslb.NewDrills(cfg, w.names)
	w.reading = time.Since(begun)
	return w, err
}

// metroAt is a place, and the cities around it.
func metroAt(at gslb.Location, cities []gslb.Location, in [][]int) metro {
	order := make([]int, len(cities))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(at.Kilometres(cities[a]), at.Kilometres(cities[b])) })
	order = slices.DeleteFunc(order, func(city int) bool { return len(in[city]) == 0 })
	m := metro{}
	for _, city := range order[:min(len(order), scaleNear)] {
		m.near = append(m.near, in[city])
	}
	return m
}

// writeTopology writes a line for each network of clients.
func (w *scaleWorld) writeTopology(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 1<<20)
	for _, m := range w.metros {
		var order []string
		for _, group := range m.near {
			var names []string
			for _, dc := range group {
				names = append(names, w.names[dc])
			}
			order = append(order, strings.Join(names, ","))
		}
		line := " " + strings.Join(order, " ") + "\n"
		for _, c := range m.clients {
			out.WriteString(w.network(c).String()) //nolint:errcheck // Flush says
			out.WriteString(line)                  //nolint:errcheck // see above
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// delay is how long a packet takes from one datacenter to another.
func (w *scaleWorld) delay(a, b int) time.Duration {
	km := w.datacenters[a].Location.Kilometres(*w.datacenters[b].Location)
	return time.Millisecond/2 + time.Duration(km/scaleSpeed*float64(time.Second))
}
