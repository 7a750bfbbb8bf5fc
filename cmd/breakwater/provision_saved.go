package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"example.org/breakwater/provision"
)

// savePlan writes a plan into a file, which holds the old one or the new one, never a part.
func savePlan(file string, plan provision.Saved) error {
	var text bytes.Buffer
	if err := writeIndented(&text, plan); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".plan-") // for its owner alone
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = f.Write(text.Bytes())
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("--out: %w", err), os.Remove(f.Name()))
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
