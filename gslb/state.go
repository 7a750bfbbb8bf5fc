package gslb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// stateVersion is of the state file's form.
const stateVersion = 1

// state is what outlasts a restart.
type state struct {
	Version  int                         `json:"version"`
	At       time.Time                   `json:"at"`               // when it was written
	Health   map[string]DatacenterHealth `json:"health"`           // as this node's probes say
	Judged   map[string]DatacenterHealth `json:"judged"`           // as the nodes say together
	LastGood map[string][]string         `json:"last_good"`        // by name: the datacenters that served when any did for the last time
	Starts   []string                    `json:"starts,omitempty"` // the IDs of this node's last starts, the latest first
	said
	Kept map[string]time.Time `json:"kept"` // by datacenter: until when caches keep answers that name it and were given before it was written
}

// loadState reads the state file. One that is not there is empty, and so is one that
// cannot be read, which is put aside: a name server starts in any case.
func loadState(file string, log *slog.Logger) (s state, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || file == "" {
		return state{}, nil
	}
	if err != nil {
		log.Warn("the state file cannot be read: drains and what was known of datacenters are forgotten", "err", err.Error())
		return state{}, nil
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Version < 1 {
		aside := file + ".damaged"
		log.Warn("the state file is damaged and is put aside: drains and what was known of datacenters are forgotten", "file", file, "aside", aside, "moved", os.Rename(file, aside) == nil)
		return state{}, nil
	}
	if s.Version > stateVersion {
		return state{}, fmt.Errorf("the state file %s was written by a newer breakwater (version %d of it, this one knows %d): run that one, or move the file away", file, s.Version, stateVersion)
	}
	s.read(time.Now(), log)
	return s, nil
}

// longestTTL is the longest that a name may have.
const longestTTL = 24 * time.Hour

// read makes the times of a state that was read what they can be, whatever the clock did
// since: nothing was seen or said in the future, and no answer is kept for longer than the
// longest TTL. A file of a later time says nothing of how datacenters are now.
func (s *state) read(now time.Time, log *slog.Logger) {
	written := s.At
	if s.At.After(now) {
		log.Warn("the state file was written at a later time than it is: its clock or this one is wrong, and what it knows of datacenters is not believed", "written", s.At.Format(time.RFC3339))
		s.At = time.Time{}
	}
	for _, all := range []map[string]DatacenterHealth{s.Health, s.Judged} {
		for name, d := range all {
			d.Since = past(d.Since, now)
			all[name] = d
		}
	}
	// What was to last for some time after it was written lasts no longer than that from now on.
	lasts := func(until time.Time) time.Time {
		return now.Add(min(until.Sub(now), max(0, until.Sub(written)), longestTTL))
	}
	for i := range s.Overrides {
		o := &s.Overrides[i]
		o.Since = past(o.Since, now)
		if !o.SafeAt.IsZero() {
			o.SafeAt = lasts(o.SafeAt)
		}
	}
	for name, until := range s.Kept { // answers went on being given after it was written
		s.Kept[name] = lasts(until).Add(writeEvery)
	}
}

// encode is the state file's content.
func (s state) encode() ([]byte, error) {
	s.Version = stateVersion
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

// replaceFile replaces a file as a whole.
func replaceFile(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".gslb-")
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	_, err = temporary.Write(data)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the state file: %w", err), os.Remove(temporary.Name()))
	}
	return nil
}
