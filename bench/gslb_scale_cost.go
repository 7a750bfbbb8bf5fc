package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"time"

	"example.org/breakwater/gslb"
)

// scaleCost is what one name server of a fleet has to do while nothing fails.
type scaleCost struct {
	Datacenters int     `json:"datacenters"`
	Probes      float64 `json:"probes_per_second"`
	ProbeBytes  float64 `json:"probe_bytes_per_second"` // both ways
	Observation int     `json:"observation_bytes"`      // one, as JSON, while all is well
	Told        float64 `json:"observations_per_second"`
	Sent        float64 `json:"observation_bytes_per_second"` // sent; as much is received
	Reading     float64 `json:"observation_reading_seconds"`  // processor time, of one: to make and read its JSON, and to hear it
	Hearing     float64 `json:"observation_hearing_seconds"`  // of that, to hear one that says nothing new
	News        float64 `json:"observation_news_seconds"`     // to hear one that says something new of a datacenter
	Busy        float64 `json:"observation_processor_share"`  // of one processor, for all of them
	Rebuild     float64 `json:"rebuild_seconds"`              // processor time, to judge all and make the view anew
	Allocated   float64 `json:"rebuild_bytes"`                // of memory, by one
	Topology    float64 `json:"topology_seconds"`
	Resident    float64 `json:"topology_bytes"` // that stay in memory
}

// measureSize has a fleet of n datacenters say what it costs each of its name servers.
func measureSize(p scalePlan, n int, probe float64) (c scaleCost, err error) {
	before := heapInUse()
	w, err := newScaleWorld(p, n)
	if err != nil {
		return c, err
	}
	interval := scaleProbe.Interval.Seconds()
	c = scaleCost{Datacenters: n, Topology: w.reading.Seconds(), Resident: heapInUse() - before, Probes: float64(n) / (0.95 * interval), Told: 2 * float64(n-1) / interval}
	c.ProbeBytes = c.Probes * probe
	now := time.Unix(1_800_000_000, 0)
	for _, d := range w.drills {
		for _, name := range w.names {
			d.Probed(name, nil, 0, now, func(int64) int64 { return 0 })
		}
	}
	first := w.drills[0]
	for _, d := range w.drills[1:] {
		first.Hear(d.Observation(), now)
	}
	first.Refresh(now)
	text, err := json.Marshal(first.Observation())
	if err != nil {
		return c, err
	}
	c.Observation, c.Sent = len(text), c.Told*float64(len(text))
	var x gslb.Observation
	coding := eachTime(200, func() {
		if text, err = json.Marshal(first.Observation()); err == nil {
			err = json.Unmarshal(text, &x)
		}
	})
	if err != nil {
		return c, err
	}
	c.Hearing = eachTime(500, func() { x.ID, x.Seq = "again", x.Seq+1; first.Hear(x, now) })
	other := map[string]gslb.DatacenterHealth{}
	for name, d := range x.Datacenters {
		other[name] = d
	}
	other[w.names[0]] = gslb.DatacenterHealth{Why: "it refuses connections"}
	c.News = eachTime(500, func() {
		x.Seq++
		x.Datacenters, other = other, x.Datacenters
		first.Differs(first.Hear(x, now), now)
	})
	c.Reading = coding + c.Hearing
	c.Busy = c.Told * c.Reading
	var was, is runtime.MemStats
	runtime.ReadMemStats(&was)
	const times = 30
	c.Rebuild = eachTime(times, func() { first.Refresh(now) })
	runtime.ReadMemStats(&is)
	c.Allocated = float64(is.TotalAlloc-was.TotalAlloc) / times
	runtime.KeepAlive(w)
	return c, nil
}

// each is the processor time that something takes, in seconds, of several times.
func eachTime(times int, do func()) float64 {
	begun := ownTime()
	for range times {
		do()
	}
	return (ownTime() - begun).Seconds() / float64(times)
}

// ownTime is the processor time that this program has used.
func ownTime() time.Duration {
	_, used := busy()
	return used
}

// heapInUse is the memory that is in use, in bytes.
func heapInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// counted is a connection that counts its bytes.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

// Read implements net.Conn.
func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// measureProbe is how many bytes a probe of an edge is, both ways, above TCP: a connection, TLS
// and one answer.
func measureProbe() (bytes float64, err error) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"serving":true,"draining":false}`) //nolint:errcheck // the client says
	}))
	defer server.Close()
	var n atomic.Int64
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives, transport.DisableCompression = true, true
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return counted{c, &n}, err
	}
	resp, err := (&http.Client{Transport: transport}).Get(server.URL + "/breakwater/v1/health")
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close() //nolint:errcheck // nothing is written
	return float64(n.Load()), err
}
