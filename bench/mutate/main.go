// Command mutate changes the programs in small ways, one at a time, and says which
// changes no test notices. README.md says how to read it.
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// defaults are what is mutated where nothing is named: the edge, the wire, the
// provisioner, and of the name server what decides.
var defaults = []string{
	"./proxy/...", "./registry", "./provision",
	"gslb/decide.go", "gslb/hysteresis.go", "gslb/override.go", "gslb/places.go", "gslb/region.go", "gslb/table.go", "gslb/topology.go", "gslb/view.go",
}

// plan says what is mutated, how often, and which tests judge it.
type plan struct {
	Targets []string      // packages and files; none: defaults
	With    []string      // packages whose tests judge what a mutant's own let live
	Seed    uint64        // which mutants are in the sample, and in which order
	Sample  int           // mutants of each package; 0: all
	For     time.Duration // no mutant is begun after it, and one that is under way does not count
	Limit   time.Duration // the longest that tests may take
	Short   bool          // tests run with -short
	JSON    bool
}

func command() *cobra.Command {
	today, _ := strconv.ParseUint(time.Now().UTC().Format("20060102"), 10, 64)
	p := plan{Seed: today, Limit: 2 * time.Minute}
	cmd := &cobra.Command{
		Use:   "mutate [package or file ...]",
		Short: "Change the programs in small ways, and name the changes that no test notices",
		Example: `  go run ./bench/mutate --sample 20
  go run ./bench/mutate --sample 20 --with ./proxy ./proxy/fetch
  go run ./bench/mutate --seed 7 gslb/decide.go`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Targets = append(p.Targets, args...)
			if p.Sample < 0 || p.For < 0 || p.Limit <= 0 {
				return errors.New("--sample and --for want 0 or more, --limit more than 0")
			}
			return run(cmd.Context(), p, cmd.OutOrStdout(), terminal(cmd.ErrOrStderr()))
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&p.Targets, "package", nil, "a package or a file that is mutated, as the arguments are; default the edge, the wire, the provisioner and the name server's decision")
	flags.StringSliceVar(&p.With, "with", nil, "packages whose tests judge what a package's own tests let live, such as ./proxy for its rooms")
	flags.Uint64Var(&p.Seed, "seed", p.Seed, "which mutants are in the sample; default the day")
	flags.IntVar(&p.Sample, "sample", 0, "how many mutants of each package; default all, which is hours")
	flags.DurationVar(&p.For, "for", 0, "stop after so long; default when all is done")
	flags.DurationVar(&p.Limit, "limit", p.Limit, "the longest that the tests of one mutant may take; less where they are quick without it")
	flags.BoolVar(&p.Short, "short", false, "run the tests with -short")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

// run judges mutants, package by package, until the sample is through or the time is over.
func run(ctx context.Context, p plan, out, progress io.Writer) error {
	packages, err := load(ctx, p.Targets)
	if err != nil {
		return err
	}
	shuffle(p.Seed, packages)
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	limited := ctx
	if p.For > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.For)
		defer cancel()
	}
	j := judge{dir: dir, plan: p, suites: map[string]*suite{}}
	if p.Sample == 0 {
		p.Sample = math.MaxInt
	}
	r := result{Seed: p.Seed}
	for _, pkg := range packages {
		t := &tally{Package: pkg.path}
		r.Packages = append(r.Packages, t)
		for _, m := range pkg.mutants {
			if t.Mutants == p.Sample || limited.Err() != nil {
				break
			}
			fmt.Fprintf(progress, "\r\033[K%s: %d of %d killed, now %s:%d", pkg.path, t.Killed, t.Mutants, m.File, m.Line)
			fate, err := j.try(limited, pkg, m)
			switch {
			case limited.Err() != nil: // it was cut short
			case err != nil:
				return err
			default:
				t.count(m, fate)
			}
		}
	}
	fmt.Fprint(progress, "\r\033[K")
	return errors.Join(r.print(out, p.JSON), ctx.Err()) // an interrupted run tells what it knows
}

// shuffle puts packages and their mutants in the order in which they are tried. A
// package's sample does not depend on which others are mutated.
func shuffle(seed uint64, packages []*code) {
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(packages), func(i, k int) { packages[i], packages[k] = packages[k], packages[i] })
	for _, c := range packages {
		name := fnv.New64a()
		io.WriteString(name, c.path) //nolint:errcheck // it never fails
		random := rand.New(rand.NewPCG(seed, name.Sum64()))
		random.Shuffle(len(c.mutants), func(i, k int) { c.mutants[i], c.mutants[k] = c.mutants[k], c.mutants[i] })
	}
}

// terminal is where progress is shown: nowhere, if nobody looks.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return f
		}
	}
	return io.Discard
}
