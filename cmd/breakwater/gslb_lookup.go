package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
)

func gslbLookupCommand() *cobra.Command {
	var config, client, name string
	var everywhere bool
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "lookup --config fleet.yaml --client ADDRESS",
		Short: "Ask over DNS where a client is sent, of all name servers side by side",
		Long: `Ask the name server on this machine, or with --fleet those of all datacenters, over DNS
as a resolver does for one of its clients, and show the answers side by side. The exit
code is 1 where one gives none, or they differ.`,
		Example: `  breakwater gslb lookup --config fleet.yaml --fleet --client 203.0.113.7`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			l := gslb.Lookup{Name: cmp.Or(name, f.Domain)}
			if l.Client, err = gslb.ClientNetwork(client); err != nil {
				return fmt.Errorf("lookup: %w", err)
			}
			servers, err := serversOf(f, everywhere)
			if err != nil {
				return fmt.Errorf("lookup: %w", err)
			}
			return printLooked(cmd, l.Ask(cmd.Context(), servers), &asJSON)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&client, "client", "", "the client's address, of which resolvers tell the /24 or /56, or a network")
	cmd.Flags().StringVar(&name, "name", "", "the name that it asks for; default: the fleet's domain")
	cmd.Flags().BoolVar(&everywhere, "fleet", false, "ask the name servers of all datacenters, at the addresses that the parent zone has")
	asJSON.register(cmd, "print one JSON list")
	for _, name := range []string{"config", "client"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	return cmd
}

// serversOf are the name servers to ask, and whose they are.
func serversOf(f *fleet.Fleet, everywhere bool) (map[netip.AddrPort]string, error) {
	delegations, err := wire.Delegations(f)
	if err != nil {
		return nil, err
	}
	if !everywhere {
		at, err := netip.ParseAddrPort(daemon.OnThisMachine(f.GSLB.Listen))
		return map[netip.AddrPort]string{at: "this machine"}, err
	}
	servers := map[netip.AddrPort]string{}
	for name, dc := range f.Datacenters {
		for _, a := range dc.GSLB {
			servers[netip.AddrPortFrom(a.Unmap(), uint16(delegations[0].Port))] = name
		}
	}
	return servers, nil
}

func printLooked(cmd *cobra.Command, all []gslb.Looked, asJSON *jsonFlag) error {
	out := cmd.OutOrStdout()
	silent := slices.ContainsFunc(all, func(l gslb.Looked) bool { return l.Error != "" })
	differ := slices.ContainsFunc(all, func(l gslb.Looked) bool { return !l.Same(all[0]) })
	if asJSON.on() {
		if err := asJSON.print(out, all); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tSERVER\tANSWER\tTTL\tSCOPE\tTOOK")
		for _, l := range all {
			var addresses []string
			for _, a := range l.Addresses {
				addresses = append(addresses, a.String())
			}
			switch answer := strings.Join(addresses, " "); {
			case l.Error != "":
				fmt.Fprintf(w, "%s\t%s\tnone: %s\n", l.Node, l.Server, l.Error)
			case answer == "":
				fmt.Fprintf(w, "%s\t%s\t%s, no address\t\t/%d\t%.1f ms\n", l.Node, l.Server, l.Rcode, l.Scope, l.Took*1000)
			default:
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t/%d\t%.1f ms\n", l.Node, l.Server, answer, l.TTL, l.Scope, l.Took*1000)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	switch {
	case silent:
		return errors.New("lookup: a name server gives no answer")
	case differ:
		return errors.New("lookup: the name servers differ: see gslb status --fleet")
	}
	return nil
}
