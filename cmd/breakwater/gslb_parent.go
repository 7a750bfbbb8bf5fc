package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb/parent"
	"example.org/breakwater/provision"
)

func delegationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delegation", Short: "Say or write what the parent zone says of the fleet's zones",
		Long: `Say what the zone above is to say of the fleet's zones: the NS records of all name
servers, and their addresses as glue. "show" prints it in the form that who hosts the
parent takes; "apply" writes it, where the parent takes updates (RFC 2136).
Afterwards "breakwater gslb check-delegation" looks at it from outside.`,
	}
	cmd.AddCommand(delegationShowCommand(), delegationApplyCommand())
	return cmd
}

// delegated are the flags that say what the parent is to say.
type delegated struct {
	config string
	zones  []string
	ttl    time.Duration
	ds     bool
}

func (o *delegated) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringSliceVar(&o.zones, "zone", nil, "only this one of the fleet's zones, where they have different parents (again for more)")
	cmd.Flags().DurationVar(&o.ttl, "ttl", 5*time.Minute, "how long resolvers keep it, 1m to 24h")
	cmd.Flags().BoolVar(&o.ds, "ds", false, "also the DS of the keys that zones are signed with: once all name servers sign, and not before")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
}

// read is what the parent is to say of each zone.
func (o *delegated) read(cmd *cobra.Command) (all []parent.Zone, err error) {
	if o.ttl < time.Minute || o.ttl > 24*time.Hour || o.ttl%time.Second != 0 {
		return nil, misused(cmd, "--ttl %v is out of 1m to 24h, in whole seconds", o.ttl)
	}
	f, err := readFleet(cmd.InOrStdin(), o.config)
	if err != nil {
		return nil, err
	}
	found, err := wire.Delegations(f)
	if err != nil {
		return nil, err
	}
	keys, faults := wire.SigningKeys(f)
	switch {
	case !o.ds:
		keys = nil
	case len(faults) > 0:
		return nil, fmt.Errorf("--ds: %s: %w", f.Where(faults[0].Field), faults[0])
	case len(keys) == 0:
		return nil, errors.New("--ds: the fleet's zones are not signed; write gslb.dnssec.key, and make the key with `breakwater gslb keygen`")
	}
	wanted := map[string]bool{}
	for _, name := range o.zones {
		wanted[strings.TrimSuffix(name, ".")] = true
	}
	var names []string
	for _, d := range found {
		name := strings.TrimSuffix(d.Zone, ".")
		names = append(names, name)
		if len(o.zones) == 0 || wanted[name] {
			delete(wanted, name)
			z := parent.Zone{Origin: d.Zone, Servers: d.Servers, TTL: o.ttl}
			for _, key := range keys {
				z.DS = append(z.DS, key.DS(d.Zone))
			}
			all = append(all, z)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("--zone %s: it is no zone of the fleet; they are %s", name, strings.Join(names, ", "))
	}
	return all, nil
}

func delegationShowCommand() *cobra.Command {
	var o delegated
	var form string
	cmd := &cobra.Command{
		Use: "show --config fleet.yaml --for FORM", Short: "Print it in the form that who hosts the parent takes", Args: cobra.NoArgs,
		Long: `Print what the parent zone is to say, as:

  bind         lines of a zone file
  route53      a change batch of Amazon Route 53 (aws route53 change-resource-record-sets)
  clouddns     gcloud commands for Google Cloud DNS, with the managed zone in $ZONE
  cloudflare   the body of Cloudflare's POST /zones/ZONE_ID/dns_records/batch
  externaldns  a DNSEndpoint of ExternalDNS`,
		Example: `  breakwater gslb delegation show --config fleet.yaml --for bind
  breakwater gslb delegation show --config fleet.yaml --for route53 > batch.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			zones, err := o.read(cmd)
			if err != nil {
				return err
			}
			if err := parent.Show(cmd.OutOrStdout(), form, zones); err != nil {
				return fmt.Errorf("--for: %w", err)
			}
			return nil
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&form, "for", "bind", "one of "+strings.Join(parent.Forms, ", "))
	return cmd
}

func delegationApplyCommand() *cobra.Command {
	var o delegated
	var server parent.Server
	var key string
	var dry, yes bool
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use: "apply --config fleet.yaml --server ADDRESS --key FILE", Short: "Write it into a parent that takes updates (RFC 2136)", Args: cobra.NoArgs,
		Long: `Ask the parent zone's primary server what it says of the fleet's zones, show what
differs, ask, and write it by a signed dynamic update (RFC 2136, TSIG): NS records and
glue of each zone, all of it or nothing. A second run changes nothing. DS records are
left as they are, and named; with --ds they are set too. The key is a file as tsig-keygen writes it, mode 0600.

Addresses of a name server that the parent does not name yet are set anew, too.
Exit status: 0 the parent says all of it, 2 with --dry-run there is something to do, 1
failed.`,
		Example: `  breakwater gslb delegation apply --config fleet.yaml --server 192.0.2.1 --key /etc/breakwater/parent.key --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if asJSON.on() && !yes && !dry {
				return misused(cmd, "--json asks nothing: it needs --yes or --dry-run")
			}
			zones, err := o.read(cmd)
			if err != nil {
				return err
			}
			if server.Key, err = parent.ReadKey(key); err != nil {
				return err
			}
			if server.Address, err = serverAddress(server.Address); err != nil {
				return err
			}
			return applyDelegation(cmd, server, zones, dry, yes, &asJSON)
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&server.Address, "server", "", "the parent zone's primary server (address or address:port)")
	cmd.Flags().StringVar(&server.Parent, "parent", "", "the parent zone, where the server is not to be asked for it")
	cmd.Flags().StringVar(&key, "key", "", "file of the TSIG key that may update the parent zone")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	asJSON.register(cmd, "print one JSON list of what differs")
	for _, name := range []string{"server", "key"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	return cmd
}

// serverAddress is host:port, 53 where there is none.
func serverAddress(text string) (string, error) {
	if host, port, err := net.SplitHostPort(text); err == nil && host != "" && port != "" {
		return text, nil
	}
	host := strings.Trim(text, "[]")
	if host == "" || strings.ContainsAny(host, " /") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", fmt.Errorf("--server %q: want an address, or address:port", text)
	}
	return net.JoinHostPort(host, "53"), nil
}

func applyDelegation(cmd *cobra.Command, server parent.Server, zones []parent.Zone, dry, yes bool, asJSON *jsonFlag) error {
	var plans []parent.Plan
	changes := 0
	for _, z := range zones {
		p, err := server.Plan(cmd.Context(), z)
		if err != nil {
			return fmt.Errorf("delegation: %w", err)
		}
		plans = append(plans, p)
		changes += len(p.Add) + len(p.Remove)
	}
	out := cmd.OutOrStdout()
	if asJSON.on() {
		if err := asJSON.print(out, plans); err != nil {
			return err
		}
		out = io.Discard
	}
	printPlans(out, plans, server.Address)
	switch {
	case changes == 0:
		return nil
	case dry:
		return exitChanges
	case !yes:
		if err := confirmed(cmd.Context(), cmd.InOrStdin(), out); err != nil {
			return err
		}
	}
	var failed []error
	for i, p := range plans {
		if err := server.Apply(cmd.Context(), p, zones[i]); err != nil {
			failed = append(failed, fmt.Errorf("delegation of %s: %w", p.Zone, err))
		} else if !p.Empty() {
			fmt.Fprintf(out, "%s is delegated.\n", strings.TrimSuffix(p.Zone, "."))
		}
	}
	if len(failed) == 0 {
		fmt.Fprintln(out, "When all name servers answer, look at it from outside: breakwater gslb check-delegation")
	}
	return errors.Join(failed...)
}

func printPlans(out io.Writer, plans []parent.Plan, server string) {
	for _, p := range plans {
		zone, above := strings.TrimSuffix(p.Zone, "."), strings.TrimSuffix(p.Parent, ".")
		if p.Empty() {
			fmt.Fprintf(out, "%s says all of %s, as %s has it: nothing to do.\n", above, zone, server)
		} else {
			fmt.Fprintf(out, "%s, as %s has it, is to say of %s (%s):\n", above, server, zone, provision.Counted(len(p.Add)+len(p.Remove), "change"))
		}
		for _, line := range p.Remove {
			fmt.Fprintln(out, "  - "+strings.ReplaceAll(line, "\t", " "))
		}
		for _, line := range p.Add {
			fmt.Fprintln(out, "  + "+strings.ReplaceAll(line, "\t", " "))
		}
		for _, note := range p.Notes {
			fmt.Fprintln(out, note+".")
		}
	}
}
