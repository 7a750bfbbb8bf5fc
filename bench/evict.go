package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// pull is one read of a trace.
type pull struct {
	object
	production bool // by those who run images, and not by a sweep
}

func evictCommand() *cobra.Command {
	var trace string
	var seed uint64
	cmd := &cobra.Command{
		Use:   "evict",
		Short: "What a store would still have, by the order in which it evicts",
		Long: `What a store of some sizes would still have, were it to evict by LRU, by SIEVE (as it does),
or by segmented LRU: the hits of reads and of bytes, over traces that are made, or over what
an edge has logged.`,
		Example: `  go run ./bench evict
  go run ./bench evict --trace edge.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if trace != "" {
				f, err := os.Open(trace)
				if err != nil {
					return err
				}
				defer f.Close()
				all, err := readTrace(f)
				if err != nil {
					return fmt.Errorf("%s: %w", trace, err)
				}
				return printEvictions(cmd.OutOrStdout(), trace, all)
			}
			for _, sweep := range []int{0, 200, 1000} {
				name := fmt.Sprintf("made: production, and in each of 20 nights a sweep of %d images", sweep)
				if err := printEvictions(cmd.OutOrStdout(), name, makeTrace(seed, sweep)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&trace, "trace", "", "a file of an edge's log, in place of traces that are made")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "of the traces that are made")
	return cmd
}

// readTrace reads what clients got by digest from an edge's log.
func readTrace(r io.Reader) (all []pull, err error) {
	names, sizes := map[string]int{}, map[int]int64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, mib)
	for lines.Scan() {
		var l struct {
			Msg, Method, Reference string
			Status                 int
			Bytes                  int64
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Msg != "request" || l.Method != "GET" || l.Status/100 != 2 || !strings.Contains(l.Reference, ":") {
			continue
		}
		n, known := names[l.Reference]
		if !known {
			n = len(names)
			names[l.Reference] = n
		}
		sizes[n] = max(sizes[n], l.Bytes)
		all = append(all, pull{object{name: n}, true})
	}
	for i := range all { // a range is a part of what is held
		all[i].size = sizes[all[i].name]
	}
	return all, lines.Err()
}

// makeTrace makes the reads of 20 days: each 3,000 pulls of 500 images, of which few are pulled often
// (Zipf, 0.9), and of which 20 a day get a new version; in the night sweep images that nobody pulls
// are read once each, as a scanner or a mirror does.
func makeTrace(seed uint64, sweep int) (all []pull) {
	random := rand.New(rand.NewPCG(seed, 0))
	const images, days, pulls, changed, layers, bases = 500, 20, 3000, 20, 6, 40
	next := 0
	made := func() object {
		next++
		return object{next, int64(min(float64(2<<30), float64(4*mib)*math.Exp(1.5*random.NormFloat64()))) + 32}
	}
	var shared [bases][2]object
	for i := range shared {
		shared[i] = [2]object{made(), made()}
	}
	image := func() (o []object) {
		next++
		o = append(o, object{next, 4 << 10})
		base := shared[random.IntN(bases)]
		for o = append(o, base[:]...); len(o) < 1+layers; {
			o = append(o, made())
		}
		return o
	}
	var now [images][]object
	var sums [images]float64
	sum := 0.0
	for i := range now {
		now[i] = image()
		sum += math.Pow(float64(i+1), -0.9)
		sums[i] = sum
	}
	read := func(o []object, production bool) {
		for _, one := range o {
			all = append(all, pull{one, production})
		}
	}
	for range days {
		for range changed {
			i := random.IntN(images)
			now[i] = append(now[i][:layers-1:layers-1], made(), made()) // its upper layers
			next++
			now[i][0] = object{next, 4 << 10}
		}
		for range pulls {
			at, i := random.Float64()*sum, 0
			for sums[i] < at {
				i++
			}
			read(now[i], true)
		}
		for range sweep {
			read(image(), false)
		}
	}
	return all
}

// printEvictions prints the hits of a trace by policy, for stores of some parts of all its bytes.
func printEvictions(out io.Writer, name string, all []pull) error {
	sizes := map[int]int64{}
	var whole int64
	for _, a := range all {
		if _, known := sizes[a.name]; !known {
			whole += a.size
		}
		sizes[a.name] = a.size
	}
	fmt.Fprintf(out, "%s: %d reads of %d objects, %.1f GiB\n%8s %8s  %24s %24s %24s\n", name, len(all), len(sizes), float64(whole)/(1<<30),
		"store", "GiB", "LRU", "SIEVE", "segmented LRU")
	fmt.Fprintf(out, "%17s  %24s %24s %24s\n", "", "reads  bytes production", "reads  bytes production", "reads  bytes production")
	for _, part := range []float64{0.02, 0.05, 0.1, 0.2, 0.4} {
		room := int64(part * float64(whole))
		fmt.Fprintf(out, "%7.0f%% %8.1f ", 100*part, float64(room)/(1<<30))
		for _, p := range []policy{&lru{newHeld(room)}, &sieve{held: newHeld(room)}, &segmented{once: newHeld(room), again: newHeld(room), share: 0.8}} {
			fmt.Fprintf(out, " %s", hits(p, all))
		}
		fmt.Fprintln(out)
	}
	_, err := fmt.Fprintln(out)
	return err
}

// hits plays a trace, and tells the shares that were held: of the reads, of the bytes, and of production's bytes.
func hits(p policy, all []pull) string {
	var hit, bytes, had, production, hadProduction float64
	for _, a := range all {
		ok := p.read(a.object)
		n := float64(a.size)
		bytes += n
		if a.production {
			production += n
		}
		if !ok {
			continue
		}
		hit++
		had += n
		if a.production {
			hadProduction += n
		}
	}
	return fmt.Sprintf("%5.1f%% %5.1f%%     %5.1f%%", 100*hit/max(1, float64(len(all))), 100*had/max(1, bytes), 100*hadProduction/max(1, production))
}
