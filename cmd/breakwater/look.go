package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/preflight"
	"example.org/breakwater/internal/fleet"
)

// lookAround has a daemon look at what it needs beside its start, and again while it runs;
// strict has it wait for the first look, and not start with a fault.
func lookAround(ctx context.Context, config, datacenter string, part preflight.Part, log *slog.Logger, strict bool) (*preflight.Watched, error) {
	read := func() (*fleet.Fleet, error) { return fleet.ReadFile(config) }
	f, err := read()
	if err != nil {
		return nil, err
	}
	looked := preflight.Watch(ctx, preflight.Config{Fleet: f, Datacenter: datacenter, For: []preflight.Part{part}}, read, log)
	if strict {
		if err := preflight.Refuse(looked.Wait(ctx)); err != nil {
			return nil, fmt.Errorf("start %s: %w", part, err)
		}
	}
	return looked, nil
}

// lookedFor waits for what is still being looked at, and no longer: for a start that fails.
func lookedFor(ctx context.Context, looked *preflight.Watched, longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	looked.Wait(ctx)
}

func strictFlag(cmd *cobra.Command, strict *bool) {
	cmd.Flags().BoolVar(strict, "strict", false, "do not start with a fault of what it needs (breakwater doctor says which there are)")
}
