package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/proxy/warm"
)

// warming is one call of breakwater warm.
type warming struct {
	admin   adminFlags
	order   warm.Order
	asJSON  jsonFlag
	timeout time.Duration
	every   time.Duration // between two questions
}

const maxWarmed = 500 // references of one call

func warmCommand() *cobra.Command {
	w := &warming{every: time.Second}
	cmd := &cobra.Command{
		Use:   "warm --config fleet.yaml REFERENCE…",
		Short: "Have images in the store of the edge on this machine, or of all edges, before they are asked for",
		Long: `Have images in the store of the edge that runs on this machine or, with --fleet, in
those of all edges, before anybody pulls them: manifests, layers, signatures and SBOMs.
A registry outside the fleet is asked once for all datacenters. Clients go first: warming
waits while many pulls are under way, and takes only room that is free, or of what was not
used for a day.

REFERENCE is an image as clients write it, with or without the registry's name. The command
waits, and says how far it is; the edge goes on where it is interrupted.

The edge is asked on its admin listener: edge.admin of the fleet file, or --admin.
The exit code is 1 when something could not be warmed, or was refused.`,
		Example: `  breakwater warm --config /etc/breakwater/fleet.yaml --fleet --platform linux/amd64 cache-dockerhub/library/nginx:1.29
  breakwater warm --config /etc/breakwater/fleet.yaml status --fleet`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > maxWarmed {
				return fmt.Errorf("%d images are too many at once; name up to %d", len(args), maxWarmed)
			}
			return nil
		},
		Annotations: map[string]string{takesWords: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			w.order.References = args
			if err := w.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return fmt.Errorf("warm: %w", err)
			}
			return nil
		},
	}
	w.admin.register(cmd)
	cmd.Flags().BoolVar(&w.order.Fleet, "fleet", false, "warm all edges of the fleet; this one asks the others")
	cmd.Flags().StringSliceVar(&w.order.Platforms, "platform", nil, "only these of an image of several, as linux/amd64")
	w.asJSON.register(cmd, "print how the edges stand at the end, as a JSON array of one object an edge")
	cmd.Flags().DurationVar(&w.timeout, "timeout", time.Hour, "how long to wait")
	cmd.AddCommand(warmStatusCommand())
	return cmd
}

func warmStatusCommand() *cobra.Command {
	w := &warming{}
	cmd := &cobra.Command{
		Use:   "status --config fleet.yaml",
		Short: "Say what edges are bringing to their stores before it is asked for, and what failed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, all, err := w.status(cmd.Context(), nil)
			switch {
			case err != nil:
				return fmt.Errorf("warm status: %w", err)
			case w.asJSON.on():
				err = w.asJSON.print(cmd.OutOrStdout(), body)
			default:
				err = printWarm(cmd.OutOrStdout(), all)
			}
			return errors.Join(err, unasked(all))
		},
	}
	w.admin.register(cmd)
	cmd.Flags().BoolVar(&w.order.Fleet, "fleet", false, "of all edges of the fleet; this one asks the others")
	w.asJSON.register(cmd, "print a JSON array of one object an edge")
	return cmd
}

// run orders, and waits.
func (w *warming) run(ctx context.Context, out, lines io.Writer) error {
	text, err := json.Marshal(w.order)
	if err != nil {
		return err
	}
	body, err := w.admin.send(ctx, http.MethodPost, "/warm", bytes.NewReader(text))
	if err != nil {
		return err
	}
	var taken warm.Taken
	if err := json.Unmarshal(body, &taken); err != nil {
		return err
	}
	for _, why := range taken.Refused {
		fmt.Fprintln(lines, why)
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	bar := progress.Show(lines)
	defer bar.End()
	body, all, err := w.wait(ctx, taken.Images, lines, bar)
	bar.End()
	if err != nil {
		return err
	}
	if w.asJSON.on() {
		err = w.asJSON.print(out, body)
	} else {
		err = printWarm(out, all)
	}
	failed := len(taken.Refused)
	for _, status := range all {
		failed += len(taken.Images) - count(status.Images, "done")
	}
	if failed > 0 && err == nil {
		err = fmt.Errorf("%d could not be warmed", failed)
	}
	return err
}

const maxSilent = 30 // questions that an edge does not answer

// wait asks until everything has ended everywhere, and returns how it stands then.
func (w *warming) wait(ctx context.Context, images []string, lines io.Writer, bar *progress.Bar) (body []byte, all []warm.Status, err error) {
	said, silent := "", map[string]int{}
	for {
		if body, all, err = w.status(ctx, images); err != nil {
			return nil, nil, w.gaveUp(ctx, err)
		}
		under, sum := false, 0
		var line []string
		for _, s := range all {
			if s.Error != "" {
				silent[s.Datacenter]++
				under = under || silent[s.Datacenter] < maxSilent
				continue
			}
			silent[s.Datacenter] = 0
			ended := count(s.Images, "done") + count(s.Images, "failed")
			sum += ended
			under = under || ended < len(s.Images) // what it does not list it has forgotten
			line = append(line, fmt.Sprintf("%s %d of %d%s", s.Datacenter, ended, len(images), toGo(s.Images)))
		}
		now := strings.Join(line, ", ")
		bar.To(sum, len(images)*len(all), now)
		if now != said && !w.asJSON.on() && !bar.Live() {
			said = now
			fmt.Fprintln(lines, now)
		}
		if !under {
			return body, all, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, w.gaveUp(ctx, ctx.Err())
		case <-time.After(w.every):
		}
	}
}

func (w *warming) gaveUp(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it has not ended in %v; the edges go on: see breakwater warm status", w.timeout)
	}
	return err
}

// status asks how the edges stand with some images; nil: with all. Of the images those of the
// platforms that are meant are left.
func (w *warming) status(ctx context.Context, images []string) (body []byte, all []warm.Status, err error) {
	query := url.Values{"image": images}
	if w.order.Fleet {
		query.Set("fleet", "true")
	}
	if body, err = w.admin.ask(ctx, http.MethodGet, "/warm?"+query.Encode()); err != nil {
		return nil, nil, err
	}
	if err = json.Unmarshal(body, &all); err != nil {
		return nil, nil, err
	}
	for i := range all {
		if len(images) > 0 {
			all[i].Images = slices.DeleteFunc(all[i].Images, func(p warm.Progress) bool { return !slices.Equal(p.Platforms, w.order.Platforms) })
		}
	}
	return body, all, nil
}

func count(images []warm.Progress, state string) (n int) {
	for _, p := range images {
		if p.State == state {
			n++
		}
	}
	return n
}

// toGo says how much of the images is still to come, as far as that is known.
func toGo(images []warm.Progress) string {
	manifests, here, size := 0, 0, int64(0)
	for _, p := range images {
		manifests, here, size = manifests+p.Manifests, here+p.ManifestsHere, size+p.BytesToGo
	}
	if manifests == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d manifests, %s to go)", here, manifests, mebibytes(size))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// printWarm prints how edges stand.
func printWarm(out io.Writer, all []warm.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range all {
		if s.Error != "" {
			fmt.Fprintf(w, "%s\tcannot be asked: %s\n", s.Datacenter, s.Error)
			continue
		}
		fmt.Fprintf(w, "%s\t%d images to warm, %s to go\n", s.Datacenter, s.Pending, mebibytes(s.BytesToGo))
		for _, kind := range []string{warm.Operator, warm.Push, warm.Clock, warm.Preheat} {
			if c := s.Kinds[kind]; c != (warm.Count{}) {
				fmt.Fprintf(w, "  %s\t%d warmed, %d failed, %d to warm\n", kind, c.Warmed, c.Failed, c.Pending)
			}
		}
		for _, p := range s.Images {
			fmt.Fprintf(w, "  %s\t%s\n", strings.Join(append([]string{p.Image}, p.Platforms...), " "), howFar(p))
		}
	}
	return w.Flush()
}

func howFar(p warm.Progress) string {
	text := p.State + toGo([]warm.Progress{p})
	if p.From != "" {
		text += ", from " + p.From
	}
	for _, why := range []string{p.Error, p.Note} {
		if why != "" {
			text += ": " + why
		}
	}
	return text
}

// unasked is an error where an edge could not be asked.
func unasked(all []warm.Status) error {
	for _, s := range all {
		if s.Error != "" {
			return fmt.Errorf("warm status: the edge of %s cannot be asked", s.Datacenter)
		}
	}
	return nil
}
