package peer

import "time"

// Hello is what an edge says of itself to a peer that asks how they stand (GET HelloPath,
// JSON): 200, or 403 where it does not know the peer. Then there is nothing in it but what
// anybody may know, and why.
type Hello struct {
	Datacenter string            `json:"datacenter"`
	Time       time.Time         `json:"time"` // by its clock
	Version    string            `json:"version,omitempty"`
	Keys       []string          `json:"keys,omitempty"` // IDs of those by which it knows peers
	Sees       map[string]string `json:"sees,omitempty"` // by datacenter: the state in which it sees that peer (package hello)
	Refused    string            `json:"refused,omitempty"`
	Why        string            `json:"why,omitempty"` // beside Refused
}

// Why an edge does not know who asks: Hello.Refused.
const (
	RefusedKey         = "key"         // no token, or one by a key that it has not
	RefusedClock       = "clock"       // the token is good, and its time is not
	RefusedDatacenter  = "datacenter"  // the token is good, and it is for another edge, or by one of the same name
	RefusedCertificate = "certificate" // none, or one that it does not believe
)

// Refusal is why an edge does not know who asks.
type Refusal struct {
	Kind string // as RefusedKey
	Says string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Says }
