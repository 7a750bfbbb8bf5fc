package operator

import (
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/proxy/hello"
)

// Report is how an edge is doing (GET status). Lists are as long as the fleet file makes
// them. Times are the edge's own.
type Report struct {
	Datacenter  string        `json:"datacenter"`
	Instance    string        `json:"instance"` // the host's name and what is new at each start: it tells replicas apart
	Version     string        `json:"version"`
	Started     time.Time     `json:"started"`
	Time        time.Time     `json:"time"`  // its clock
	Fleet       string        `json:"fleet"` // of its fleet file (fleet.Fleet.Hash)
	Config      Config        `json:"config"`
	Serving     bool          `json:"serving"`
	Leaving     bool          `json:"leaving"`         // the process ends
	Drain       *Order        `json:"drain,omitempty"` // an operator has it leave
	Keys        []string      `json:"keys"`            // IDs of those it knows operators by, the one in use first
	Harbor      Harbor        `json:"harbor"`
	Sources     []Source      `json:"sources"` // that are not well, have asked for a pause, or refuse the edge's credentials
	Store       Store         `json:"store"`
	Hits        Hits          `json:"hits"`
	Requests    int64         `json:"requests"` // being answered
	Peers       []Peer        `json:"peers"`
	Certificate *time.Time    `json:"certificate,omitempty"` // when it ends; absent: plain HTTP
	Outage      Outage        `json:"outage"`
	Announce    []Announced   `json:"announce"`
	Follow      Follow        `json:"follow"`
	Touches     *Touches      `json:"touches,omitempty"` // absent: of an edge that does not say it
	Lacks       []daemon.Lack `json:"lacks"`
}

// Config is how the fleet file was last read.
type Config struct {
	Read  time.Time `json:"read"`            // when what is in use was read
	Fault string    `json:"fault,omitempty"` // why a newer one is not in use
}

// Harbor is the local Harbor, by its own words.
type Harbor struct {
	Up         bool              `json:"up"`
	Since      time.Time         `json:"since"`
	Why        string            `json:"why,omitempty"`
	Components map[string]string `json:"components,omitempty"`
}

// Source is what content comes from.
type Source struct {
	Name    string  `json:"name"`
	Up      bool    `json:"up"`                // its circuit breaker is closed
	Paused  float64 `json:"paused"`            // seconds that it asked to be left alone yet
	Refuses bool    `json:"refuses,omitempty"` // the credentials that the edge has for it
}

// Store is how full the store is.
type Store struct {
	Bytes    int64 `json:"bytes"`
	Size     int64 `json:"size"` // 0: no limit
	Free     int64 `json:"free"` // of its file system; -1: that does not say
	Fills    int   `json:"fills"`
	Degraded bool  `json:"degraded"`
	Hanging  bool  `json:"hanging"`
}

// Hits is how much of what clients read came from the store.
type Hits struct {
	Start  Ratio `json:"start"`  // since the edge started
	Recent Ratio `json:"recent"` // of the last ten minutes
}

// Ratio is so many of so many.
type Ratio struct {
	Hits int64 `json:"hits"`
	Of   int64 `json:"of"`
}

// Peer is another datacenter's edge, as this one sees it.
type Peer struct {
	Datacenter string      `json:"datacenter"`
	State      hello.State `json:"state"`
	Says       string      `json:"says,omitempty"` // what is wrong and what to do
}

// Outage is what was given because no Harbor could.
type Outage struct {
	Tokens int64      `json:"tokens"` // since the edge started
	Last   *time.Time `json:"last,omitempty"`
}

// Announced is what a peer has not heard of this edge's log.
type Announced struct {
	Datacenter string  `json:"datacenter"`
	Pending    uint64  `json:"pending"`
	Waiting    float64 `json:"waiting_seconds"` // since it had heard everything, or this edge began to tell it; 0: it has
}

// Follow is what the local Harbor is yet to be given. An edge of before does not say all of it.
type Follow struct {
	Pending    int            `json:"pending"`
	Oldest     float64        `json:"oldest_seconds"` // that one is pending
	Projects   map[string]int `json:"projects,omitempty"`
	GivenUp    int            `json:"given_up"`
	Tombstones *int           `json:"tombstones,omitempty"` // deletes that are remembered
}

// Touches are pulls that the local Harbor's retention has not been shown.
type Touches struct {
	Pending int     `json:"pending"`
	Oldest  float64 `json:"oldest_seconds"`
}
