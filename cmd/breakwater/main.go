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
	os.Exit(int(run(os.Args[1:])))
}

// run runs the command that args say, and gives the status to end with.
func run(args []string) exitStatus {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	err := unknownCommand(root, args)
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	var status exitStatus
	var misuse misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status): // it has said why
		return status
	case errors.As(err, &misuse):
		status = misuse.status()
	default:
		status = 1
	}
	fmt.Fprintln(os.Stderr, err)
	return status
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "breakwater",
		Short: "One registry name in front of a Harbor in every datacenter",
		Long: `breakwater makes a fleet of Harbors behave as one registry.

Every command reads one file, the fleet file, that describes all datacenters.
Start with "breakwater init", "breakwater check fleet.yaml" and "breakwater doctor"; make the Harbors as it says with
"breakwater provision apply"; then run "breakwater edge" in each datacenter, in front
of its Harbor, and "breakwater gslb", to which the parent zone delegates the name.

Exit status: 0 done, 1 failed or faults found, 2 the command line is wrong (1 where 2 has
a meaning of its own: check, doctor and status say by it that there are warnings only, the
plan of provision that there is something to do).`,
		SilenceUsage: true, SilenceErrors: true,
		Version: daemon.Version(),
	}
	root.AddCommand(statusCommand(), edgeCommand(), gslbCommand(), provisionCommand(), purgeCommand(), warmCommand(), explainCommand(), trafficCommand(), fillsCommand(), contentCommand(), hostsCommand(),
		initCommand(), checkCommand(), doctorCommand(), schemaCommand(), versionCommand(), manCommand())
	root.InitDefaultCompletionCmd() // before its first use, so that it is like the others
	explainMisuse(root)
	complete(root)
	return root
}
