package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
)

func gslbCheckCommand() *cobra.Command {
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "check --config fleet.yaml FILE",
		Short: "Check a topology or a geographic database before name servers get it",
		Long: `Read a topology or a MaxMind database (*.mmdb) as the fleet's name servers would, in
place of the one that the fleet file names, and say what is wrong with it, with file and
line. The exit code is 1 when something is.`,
		Example: `  breakwater gslb check --config fleet.yaml topology.txt`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			if f.GSLB == nil {
				return errors.New("check: the fleet file has no gslb section")
			}
			cfg := wire.Places(f)
			cfg.Topology, cfg.GeoIP = args[0], ""
			if filepath.Ext(args[0]) == ".mmdb" {
				cfg.Topology, cfg.GeoIP = "", args[0]
			}
			places, err := gslb.NewPlaces(cfg)
			if err != nil {
				return fmt.Errorf("check: %w", err)
			}
			intervals, orders := places.Size()
			if asJSON.on() {
				return asJSON.print(cmd.OutOrStdout(), map[string]any{"file": args[0], "ranges": intervals, "orders": orders})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is good: with the fleet file's networks, %d ranges of addresses have one of %d orders of datacenters.\n", args[0], intervals, orders)
			return err
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	asJSON.register(cmd, "print one JSON object: file, ranges, orders")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}
