package follow

import (
	"net/http"
	"time"
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
// versions have the edge's. How far is known once Harbor has answered. It is no later than
// that, and earlier by two seconds at most, or by what Harbor's fastest answer took where none
// was prompt.
func (f *Follower) Here(harbors time.Time) time.Time {
	if harbors.IsZero() {
		return harbors
	}
	return harbors.Add(-time.Duration(f.ahead.Load()))
}
