package state

import (
	"encoding/json"
	"time"
)

// EachTouch implements touch.State. It reads what is on disk, as at the start all is.
func (s *DB) EachTouch(do func(key string, value []byte)) {
	s.each(touchBucket, []byte{}, func(key, value []byte) bool {
		var r record
		if json.Unmarshal(value, &r) == nil {
			do(string(key), r.Touch)
		}
		return true
	})
}

// PutTouch implements touch.State.
func (s *DB) PutTouch(key string, value []byte, at time.Time) {
	var r *record
	if value != nil {
		r = &record{Touch: value, Checked: at.Unix()}
	}
	s.put(touchBucket, key, r)
}
