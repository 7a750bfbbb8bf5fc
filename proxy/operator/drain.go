package operator

import (
	"sync"
	"time"
)

// Order is what an operator said.
type Order struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Drain is whether an edge says that it leaves: an operator has said so, or the process
// ends. Its zero value is an edge that stays. Safe for concurrent use.
type Drain struct {
	mu      sync.Mutex
	order   *Order
	leaving bool
}

// Say has the edge leave; nil takes that back.
func (d *Drain) Say(o *Order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.order = o
}

// Leave says that the process ends, for good.
func (d *Drain) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = true
}

// State returns what an operator said, nil for nothing, and whether the process ends.
func (d *Drain) State() (order *Order, leaving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order, d.leaving
}

// Draining reports whether no new clients should be sent here.
func (d *Drain) Draining() bool {
	order, leaving := d.State()
	return order != nil || leaving
}
