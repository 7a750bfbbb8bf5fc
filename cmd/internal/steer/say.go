package steer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/signed"
)

// Told is what one name server made of a steering.
type Told struct {
	Node    string        `json:"node"`
	Steered *gslb.Steered `json:"steered"`           // nil: it was not told, or had nothing to take back
	Nothing bool          `json:"nothing,omitempty"` // there was nothing to take back
	Error   string        `json:"error,omitempty"`   // why it was not told, in a sentence
	Unsure  bool          `json:"unsure,omitempty"`  // it may have done it all the same, or do it yet
}

// Steer tells all nodes at once. Without Yes each is asked before what would come of it, and
// where that troubles one of them none does anything. A node that cannot be told keeps
// nobody else from it.
func (f *Fleet) Steer(ctx context.Context, x gslb.Steering) []Told {
	if x.Yes && !x.Dry {
		return each(f, func(n Node) Told { return f.tell(ctx, n, x) })
	}
	dry := x
	dry.Dry = true
	before := map[string]Told{}
	troubled := false
	all := each(f, func(n Node) Told { return f.tell(ctx, n, dry) })
	for _, t := range all {
		before[t.Node] = t
		troubled = troubled || t.Steered != nil && len(t.Steered.Troubles) > 0
	}
	if troubled || x.Dry {
		return all
	}
	return each(f, func(n Node) Told {
		was := before[n.String()]
		if was.Steered == nil {
			return was
		}
		t := f.tell(ctx, n, x)
		if t.Nothing { // one who was told has told it
			t.Nothing, t.Steered, was.Steered.Done = false, was.Steered, true
		}
		return t
	})
}

// tell tells one node.
func (f *Fleet) tell(ctx context.Context, n Node, x gslb.Steering) Told {
	t := Told{Node: n.String()}
	var done gslb.Steered
	var err error
	if f.Local != nil && n.Name == f.Self {
		done, err = f.Local.SteerAll(ctx, x)
	} else {
		err = f.ask(ctx, n, http.MethodPost, "/override", x, &done)
	}
	var refused *signed.Refused
	var dial *unreached
	switch {
	case err == nil:
		t.Steered = &done
	case errors.Is(err, gslb.ErrNothingSaid), errors.As(err, &refused) && refused.Signed && refused.Status == http.StatusNotFound:
		t.Nothing = true
	default:
		t.Error = err.Error()
		t.Unsure = !x.Dry && !errors.As(err, &refused) && !errors.As(err, &dial)
	}
	return t
}

// Handle adds to an admin listener what is asked of the fleet by way of this node:
//
//	GET  /fleet/status     what all nodes know ([]Seen)
//	POST /fleet/override   a gslb.Steering as JSON, for all of them ([]Told)
func Handle(mux *http.ServeMux, fleet func() (*Fleet, error)) {
	handle := func(pattern string, do func(f *Fleet, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f, err := fleet()
			var answer any
			if err == nil {
				answer, err = do(f, r)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(answer) //nolint:errcheck // the operator is gone
		})
	}
	handle("GET /fleet/status", func(f *Fleet, r *http.Request) (any, error) { return f.Reports(r.Context()), nil })
	handle("POST /fleet/override", func(f *Fleet, r *http.Request) (any, error) {
		var x gslb.Steering
		if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<16)).Decode(&x); err != nil {
			return nil, errors.New("want an override as JSON")
		}
		return f.Steer(context.WithoutCancel(r.Context()), x), nil // what is begun is finished: half a fleet is worse
	})
}
