package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// recordFormat is the number of what Record looks like in a file.
const recordFormat = 1

// Record is Last in a file, for who looks later.
type Record struct {
	Format int `json:"format"`
	Last
}

// Last is what the last plan and the last apply were. It holds no secrets.
type Last struct {
	Plan  *Run `json:"plan,omitempty"`
	Apply *Run `json:"apply,omitempty"`
}

// Run is one plan, or one apply with what came of it.
type Run struct {
	Began       time.Time `json:"began"`
	Seconds     float64   `json:"seconds"`               // that it took
	Datacenters []string  `json:"datacenters,omitempty"` // of Options; absent: all
	Plan        *Plan     `json:"plan"`
	Results     []Result  `json:"results,omitempty"` // of apply
	Error       string    `json:"error,omitempty"`   // why it failed; what is partly done is in Results
}

// With returns the record after another run: an apply, or else a plan.
func (r Record) With(run Run, applied bool) Record {
	r.Format = recordFormat
	if applied {
		r.Apply = &run
	} else {
		r.Plan = &run
	}
	return r
}

// ReadRecord reads a record from a file's text.
func ReadRecord(text []byte) (r Record, err error) {
	if err := json.Unmarshal(text, &r); err != nil || r.Format == 0 {
		return Record{}, errors.New("neither provision plan nor apply has written this")
	}
	if r.Format != recordFormat {
		return Record{}, fmt.Errorf("the record has format %d, and this program reads %d", r.Format, recordFormat)
	}
	for _, run := range []*Run{r.Plan, r.Apply} {
		if run != nil && run.Plan == nil {
			return Record{}, errors.New("a run of the record has no plan")
		}
	}
	return r, nil
}
