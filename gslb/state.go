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
	Version   int                         `json:"version"`
	At        time.Time                   `json:"at"` // when it was written
	Health    map[string]DatacenterHealth `json:"health"`
	LastGood  map[string][]string         `json:"last_good"` // by name: the datacenters that served when any did for the last time
	Overrides []Override                  `json:"overrides"`
	Kept      map[string]time.Time        `json:"kept"` // by datacenter: until when caches keep answers that name it and were given before it was written
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
	for of, until := range s.Kept { // answers went on being given after it was written
		s.Kept[of] = until.Add(writeEvery)
	}
	return s, nil
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
