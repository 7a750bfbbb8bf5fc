package follow

import (
	"context"
	"net/http"
	"time"

	"example.org/breakwater/registry"
)

// prompt is how soon an answer comes that tells what Harbor's clock says now.
const prompt = 100 * time.Millisecond

// readClock learns from Harbor's answer to what it was asked at begun how far its clock is
// ahead (RFC 9110, 6.6.1: Date).
func (f *Follower) readClock(resp *http.Response, begun time.Time) {
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return
	}
	// At most: it has whole seconds, and was said after begun. A slow answer says little.
	most, known := int64(at.Add(time.Second).Sub(begun)), f.ahead.Load()
	if f.cfg.Now().Sub(begun) < prompt || known == 0 || most < known {
		f.ahead.Store(most)
	}
}

// Here is what this edge's clock said at a time of Harbor's: the two may differ, and
// versions have the edge's. It is no later than that, and earlier by two seconds at most, or
// by what Harbor's fastest answer took where none was prompt.
func (f *Follower) Here(harbors time.Time) time.Time {
	if harbors.IsZero() {
		return harbors
	}
	return harbors.Add(-time.Duration(f.ahead.Load()))
}

// Told is Here of a time that Harbor tells unasked: Harbor is asked what its clock says where
// it was not yet, as right after a start. The error says that it did not answer.
func (f *Follower) Told(ctx context.Context, harbors time.Time) (time.Time, error) {
	if f.ahead.Load() == 0 {
		resp, err := f.call(ctx, registry.Call{Method: http.MethodGet, Path: "/v2/"})
		if err != nil {
			return time.Time{}, err
		}
		resp.Body.Close()
	}
	return f.Here(harbors), nil
}
