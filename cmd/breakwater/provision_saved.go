package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"example.org/breakwater/provision"
)

// savePlan writes a plan into a file, for its owner alone.
func savePlan(file string, plan provision.Saved) error {
	if err := writeWhole(file, 0o600, plan); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// saved reads the plan that is to be done, and takes what it was made with; nil: there is none.
func (o *provisioning) saved(cmd *cobra.Command, args []string) (*provision.Saved, error) {
	if len(args) == 0 {
		return nil, nil
	}
	for _, name := range []string{"datacenter", "rewrite-secrets", "prune", "prune-max"} {
		if cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--%s is of the plan: write it where that is made", name)
		}
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	s, err := provision.ReadSaved(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	o.datacenters, o.rewrite, o.prune, o.pruneMax = s.Datacenters, s.Rewrite, s.Prune, s.PruneMax
	return &s, nil
}
