package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/ports"
)

// storeReport is what a start over many blobs took.
type storeReport struct {
	Machine  string  `json:"machine"`
	Blobs    int     `json:"blobs"`
	Answered float64 `json:"seconds_to_first_answer"`
	Listed   float64 `json:"seconds_to_listed"`
	CPU      float64 `json:"cpu_seconds_to_listed"`
	Resident int64   `json:"resident_bytes"`
	Peak     int64   `json:"peak_bytes"`
}

func storeCommand() *cobra.Command {
	var blobs int
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "store",
		Short:   "How an edge starts on a store of many blobs",
		Example: `  go run ./bench store --blobs 1000000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if blobs < 1 {
				return fmt.Errorf("--blobs %d: want 1 or more", blobs)
			}
			r, err := runStore(cmd.Context(), blobs, dir, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&blobs, "blobs", 1_000_000, "how many; they are empty files")
	cmd.Flags().StringVar(&dir, "dir", "", "where the store is made; default the system's temporary directory")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	return cmd
}

func (r *storeReport) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `machine          %s
blobs            %d, empty files
first answer     %.3f s after the start
listed           %.3f s after the start: until then processor time was used
processor time   %.2f s by then
resident memory  %d MiB then, %d MiB at most
`, r.Machine, r.Blobs, r.Answered, r.Listed, r.CPU, r.Resident/mib, r.Peak/mib)
	return err
}

// runStore makes the store, starts the edge on it, and watches it until it rests.
func runStore(ctx context.Context, blobs int, dir string, progress io.Writer) (*storeReport, error) {
	e := &environment{progress: progress}
	defer e.close()
	var err error
	if e.dir, err = os.MkdirTemp(dir, "breakwater-bench-"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(e.shared(), 0o755); err != nil {
		return nil, err
	}
	if _, err := writeKeys(e.shared()); err != nil {
		return nil, err
	}
	edge, err := buildEdge(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	e.say("make %d blobs", blobs)
	if err := makeStore(ctx, filepath.Join(e.dir, "store"), blobs); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	free, err := ports.Free("127.0.0.1", 3)
	if err != nil {
		return nil, err
	}
	s := settings{Dir: e.dir, Shared: e.shared(), Listen: free[0], Metrics: free[1], Admin: free[2],
		Origin: "http://" + free[0], Robot: robotName, Secret: robotSecret} // the origin is not asked
	if err := s.write("edge.yaml"); err != nil {
		return nil, err
	}
	e.say("start the edge")
	log := filepath.Join(e.dir, "log")
	begun := time.Now()
	p, err := startProcess(log, edge, "edge", "--config", filepath.Join(e.dir, "edge.yaml"), "--datacenter", "par1", "--drain", "0s")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := awaitAnswer(ctx, p, "http://"+s.Listen+"/healthz"); err != nil {
		return nil, fmt.Errorf("start the edge: %w; its log ends: %s", err, lastLines(log))
	}
	r := &storeReport{Machine: machine(), Blobs: blobs, Answered: time.Since(begun).Seconds()}
	return r, r.watch(ctx, p, begun)
}

// watch waits until the process rests for a second, which is when the store is
// listed: the edge does not say so itself.
func (r *storeReport) watch(ctx context.Context, p *process, begun time.Time) error {
	const every, rest = 100 * time.Millisecond, 10
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for still, last := 0, time.Duration(-1); still < rest; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return fmt.Errorf("the edge ended while it listed its store")
		case <-ticker.C:
		}
		cpu, err := p.cpu()
		if err != nil {
			return err
		}
		if cpu-last > every/20 {
			still, r.Listed, r.CPU = 0, time.Since(begun).Seconds(), cpu.Seconds()
		} else {
			still++
		}
		last = cpu
	}
	var err error
	if r.Resident, err = p.memory("VmRSS"); err != nil {
		return err
	}
	r.Peak, err = p.memory("VmHWM")
	return err
}

// makeStore lays empty blobs out as proxy/store/README.md says.
func makeStore(ctx context.Context, dir string, blobs int) error {
	root := filepath.Join(dir, "blobs", "sha256")
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	for i := range blobs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		hex := fmt.Sprintf("%x", sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))))
		f, err := os.OpenFile(filepath.Join(root, hex[:2], hex), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
