// Command breakwater is the registry front of a fleet of Harbors.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:   "breakwater",
		Short: "One registry name in front of a Harbor in every datacenter",
		Long: `breakwater makes a fleet of Harbors behave as one registry.

Every command reads one file, the fleet file, that describes all datacenters.
Start with "breakwater init", "breakwater check fleet.yaml" and "breakwater doctor"; make the Harbors as it says with
"breakwater provision apply"; then run "breakwater edge" in each datacenter, in front
of its Harbor, and "breakwater gslb", to which the parent zone delegates the name.`,
		SilenceUsage: true, SilenceErrors: true,
		Version: daemon.Version(),
	}
	root.AddCommand(statusCommand(), edgeCommand(), gslbCommand(), provisionCommand(), purgeCommand(), explainCommand(), hostsCommand(),
		initCommand(), checkCommand(), doctorCommand(), schemaCommand(), versionCommand(), manCommand())
	err := root.ExecuteContext(ctx)
	var status exitStatus
	switch {
	case errors.As(err, &status): // it has said why
		os.Exit(int(status))
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
