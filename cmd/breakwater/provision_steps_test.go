package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// Long work says its steps on stderr where its JSON is to be on stdout alone.
func TestStepsAreInTheJSONToo(t *testing.T) {
	config, _ := provisionFleet(t)
	provisions(t, 0, "apply", "--config", config, "--yes")
	for line, want := range map[string]struct {
		status int
		done   bool
	}{
		"rotate sync":             {0, true},
		"refill par1 --from mad1": {0, true},
		"refill par1 --from par1": {1, false},
		"rotate nobody":           {1, false},
	} {
		args := append(append([]string{"provision"}, strings.Fields(line)...), "--json", "--config", config)
		got := program(t, nil, args...)
		var answer struct {
			Format int
			Done   bool
			Steps  []string
		}
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.status != want.status || answer.Format != 1 || answer.Done != want.done || want.done && len(answer.Steps) == 0 {
			t.Errorf("%s: %v, status %d: %s%s", line, err, got.status, got.stdout, got.stderr)
		}
		for _, step := range answer.Steps {
			if !strings.Contains(got.stderr, step) {
				t.Errorf("%s: %q is not on stderr: %s", line, step, got.stderr)
			}
		}
	}
}
