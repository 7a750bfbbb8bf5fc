// Command bench runs the edge side by side with what one would use instead, on
// one machine, and says how fast each is and what it costs. README.md says what
// is measured and how to read it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Run the edge side by side with what one would use instead",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(edgeCommand(), storeCommand(), evictCommand(), gslbCommand(), scaleCommand(), fleetCommand(), distanceCommand(), provisionCommand(), spreadCommand(), originCommand(), echoCommand())
	return cmd
}

const mib = 1 << 20

// plan says what is run, how often and with how much.
type plan struct {
	Rounds   int
	Peers    []string      // nil: all
	Work     []string      // nil: all
	Dir      string        // where content and caches are kept; "": the system's temporary directory
	Registry string        // distribution's binary; "": `registry` of PATH, else built
	Nginx    string        // nginx's binary; "": of PATH
	Before   string        // another breakwater, to compare the edge with; "": none
	Warm     int64         // bytes of the blob that is held already, and of what is pushed
	Cold     int64         // bytes of the blob that is not
	Slow     int64         // bytes of the blob behind a slow link
	Rate     int64         // bytes a second of the slow link, over all connections
	Tokens   int           // how many different ones there are: more than a peer remembers
	Time     time.Duration // of a round of manifests; a round of warm blobs lasts a third of it at least
	Settle   time.Duration // how long after the last byte a peer's processor time still counts
	JSON     bool
}

func edgeCommand() *cobra.Command {
	p := plan{Rounds: 5, Warm: 64 * mib, Cold: 256 * mib, Slow: 32 * mib, Rate: 16 * mib, Tokens: 20_000, Time: 3 * time.Second, Settle: 200 * time.Millisecond}
	var quick bool
	var rate, slow int64
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Blobs and manifests, warm and cold, plain and over TLS, by each peer",
		Example: `  go run ./bench edge --rounds 3
  go run ./bench edge --quick --peers edge,direct --work warm-1,cold-64`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.Rate, p.Slow = rate*mib, slow*mib
			if quick {
				p.Warm, p.Cold, p.Tokens, p.Time = 8*mib, 32*mib, 2000, time.Second
				if !cmd.Flags().Changed("slow-size") {
					p.Slow = 8 * mib
				}
				if !cmd.Flags().Changed("rounds") {
					p.Rounds = 1
				}
			}
			if p.Rounds < 1 || p.Rate < mib || p.Slow < mib {
				return fmt.Errorf("--rounds %d, --rate %d, --slow-size %d: want 1 or more", p.Rounds, rate, slow)
			}
			return runEdge(cmd.Context(), p, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&p.Rounds, "rounds", p.Rounds, "how often each work is done by each peer")
	flags.BoolVar(&quick, "quick", false, "one round of small blobs: does it run, not how fast")
	flags.StringSliceVar(&p.Peers, "peers", nil, "which peers: edge, before, distribution, nginx-static, nginx-cache, direct; default all")
	flags.StringSliceVar(&p.Work, "work", nil, "which work, such as warm-1, or warm-1/tls for one transport; default all")
	flags.Int64Var(&rate, "rate", p.Rate/mib, "MiB a second that the origin sends, over all connections, in the slow works")
	flags.Int64Var(&slow, "slow-size", p.Slow/mib, "MiB of the blob of the slow works")
	flags.StringVar(&p.Dir, "dir", "", "where content and caches are kept; default the system's temporary directory")
	flags.StringVar(&p.Registry, "registry", "", "distribution's binary; default registry on PATH, else it is built")
	flags.StringVar(&p.Nginx, "nginx", "", "nginx's binary; default nginx on PATH")
	flags.StringVar(&p.Before, "before", "", "another breakwater's binary, as of the commit before: the peer before")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

func originCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "origin", Short: "The Harbor stand-in, in a process of its own", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveOrigin(cmd.Context(), dir, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the bench's directory")
	return cmd
}
