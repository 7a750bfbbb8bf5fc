package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
	"example.org/breakwater/provision"
)

func checkDelegationCommand() *cobra.Command {
	var config string
	var roots []string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "check-delegation --config fleet.yaml",
		Short: "Follow the chain from the root, and say what is wrong with the delegation",
		Long: `Follow the real chain from the root servers to the fleet's domain. Ask every server of
the parent zone, and every name server that the parent or the fleet file names, over UDP
and TCP. Found are: no delegation, missing or wrong glue, DS records of a zone that is
not signed, or of no key that the name servers have, or none of a zone that is signed,
signatures that do not hold, lame and unreachable servers, NS sets, keys and serials that
differ, and parent TTLs longer than sensible. The exit code is 1 when something is.`,
		Example: `  breakwater gslb check-delegation --config fleet.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			checks, err := wire.Delegations(f)
			if err != nil {
				return err
			}
			found := []gslb.Finding{}
			for _, d := range checks {
				for _, text := range roots {
					root, err := parseRoot(text)
					if err != nil {
						return err
					}
					d.Roots = append(d.Roots, root)
				}
				more, err := d.Check(cmd.Context())
				if err != nil {
					return fmt.Errorf("check-delegation: %w", err)
				}
				found = append(found, more...)
			}
			return printFindings(cmd, found, &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringSliceVar(&roots, "root", nil, "ask these in place of the root servers: the addresses of a private root, or of the parent zone's servers (address or address:port)")
	asJSON.register(cmd, "print one JSON list")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

func parseRoot(text string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--root %s: want an address, or address:port", strconv.Quote(text))
	}
	return netip.AddrPortFrom(a, 53), nil
}

func printFindings(cmd *cobra.Command, found []gslb.Finding, asJSON *jsonFlag) error {
	out := cmd.OutOrStdout()
	var err error
	switch {
	case asJSON.on():
		err = asJSON.print(out, found)
	case len(found) == 0:
		_, err = fmt.Fprintln(out, "The delegation is as it should be.")
	default:
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "FOUND\tSEEN AT\tWHAT TO DO")
		for _, f := range found {
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Kind, f.Where, f.Message)
		}
		err = w.Flush()
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("check-delegation: %s", provision.Counted(len(found), "fault"))
	}
	return err
}
