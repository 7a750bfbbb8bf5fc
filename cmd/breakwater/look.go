package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/preflight"
)

// lookAround has a daemon look at what it needs beside its start; strict has it wait for
// that, and not start with a fault. What it returns waits for what is still being looked
// at, and no longer than it is told: for a start that fails.
func lookAround(ctx context.Context, cfg preflight.Config, log *slog.Logger, strict bool) (wait func(time.Duration), err error) {
	looked := preflight.Beside(ctx, cfg, log)
	if strict {
		err = preflight.Refuse(looked.Wait(ctx))
	}
	return func(longest time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		looked.Wait(ctx)
	}, err
}

func strictFlag(cmd *cobra.Command, strict *bool) {
	cmd.Flags().BoolVar(strict, "strict", false, "do not start with a fault of what it needs (breakwater doctor says which there are)")
}
