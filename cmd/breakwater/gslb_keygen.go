package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/fleet"
)

func gslbKeygenCommand() *cobra.Command {
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "keygen --config fleet.yaml [FILE]",
		Short: "Make the key that zones are signed with, and say what their parents are to have",
		Long: `Make a key for DNSSEC (ECDSA P-256 with SHA-256, one key for all zones), in FILE or where
gslb.dnssec.key says, readable for its owner alone, and print the DS and DNSKEY records
that the parent zones are to have. A file that is there stays as it is. Copy it to all
name servers: they sign with the same key. Give the records to the parents an hour after
the last of them does ("breakwater gslb check-delegation").`,
		Example: `  breakwater gslb keygen --config /etc/breakwater/fleet.yaml
  breakwater gslb keygen --config fleet.yaml ./dnssec-2027.key`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			if f.GSLB == nil {
				return errors.New("keygen: the fleet file has no gslb section")
			}
			file := f.GSLB.DNSSEC.Key
			if len(args) > 0 {
				file = args[0]
			}
			if file == "" {
				return errors.New("keygen: the fleet file does not say where the key is; write gslb.dnssec.key, or name a FILE")
			}
			key, err := gslb.NewSigningKey()
			if err != nil {
				return fmt.Errorf("keygen: %w", err)
			}
			if err := key.WriteNew(file); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("keygen: %s is there already and stays as it is; `breakwater gslb ds` prints its records, and a new key needs another name", file)
			} else if err != nil {
				return fmt.Errorf("keygen: %w", err)
			}
			out := cmd.OutOrStdout()
			if asJSON.on() {
				return printForParents(&asJSON, out, f, file, []*gslb.SigningKey{key})
			}
			fmt.Fprintf(out, "; %s is made, for its owner alone. Copy it to all name servers, for the user that they run as.\n", file)
			if absolute, err := filepath.Abs(file); err != nil || absolute != f.GSLB.DNSSEC.Key {
				fmt.Fprintln(out, "; They sign with it when gslb.dnssec.key names it.")
			}
			return printForParents(&asJSON, out, f, file, []*gslb.SigningKey{key})
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	asJSON.register(cmd, "print one JSON object: file, and the records for the parent of each zone")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

func gslbDSCommand() *cobra.Command {
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "ds --config fleet.yaml",
		Short: "Print the DS and DNSKEY records of the keys that zones are signed with",
		Long: `Print the records that the parents of the fleet's zones are to have, of the key that
gslb.dnssec.key names and, while it is replaced, of the one of before.`,
		Example: `  breakwater gslb ds --config /etc/breakwater/fleet.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			keys, faults := wire.SigningKeys(f)
			switch {
			case len(faults) > 0:
				return fmt.Errorf("ds: %s: %w", f.Where(faults[0].Field), faults[0])
			case len(keys) == 0:
				return errors.New("ds: the fleet's zones are not signed; write gslb.dnssec.key, and make the key with `breakwater gslb keygen`")
			}
			return printForParents(&asJSON, cmd.OutOrStdout(), f, f.GSLB.DNSSEC.Key, keys)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	asJSON.register(cmd, "print one JSON object: file, and the records for the parent of each zone")
	cmd.MarkFlagRequired("config") //nolint:errcheck // the flag is there
	return cmd
}

// forParent is what the parent of a zone is to have, of each key, the newest first.
type forParent struct {
	Zone   string   `json:"zone"`
	DS     []string `json:"ds"`
	DNSKEY []string `json:"dnskey"`
}

// printForParents prints what the parents of all zones are to have, as a zone file has it.
func printForParents(asJSON *jsonFlag, w io.Writer, f *fleet.Fleet, file string, keys []*gslb.SigningKey) error {
	zones, err := wire.Delegations(f)
	if err != nil {
		return err
	}
	if asJSON.on() {
		var all []forParent
		for _, z := range zones {
			one := forParent{Zone: strings.TrimSuffix(z.Zone, ".")}
			for _, key := range keys {
				one.DS, one.DNSKEY = append(one.DS, key.DS(z.Zone).String()), append(one.DNSKEY, key.DNSKEY(z.Zone).String())
			}
			all = append(all, one)
		}
		return asJSON.printIndented(w, map[string]any{"file": file, "zones": all})
	}
	for _, z := range zones {
		fmt.Fprintf(w, "\n; The parent of %s has the DS; where it makes that itself, it is given the DNSKEY.\n", strings.TrimSuffix(z.Zone, "."))
		for i, key := range keys {
			if i > 0 {
				fmt.Fprintln(w, "; The key of before (gslb.dnssec.previous_key):")
			}
			for _, rr := range []fmt.Stringer{key.DS(z.Zone), key.DNSKEY(z.Zone)} {
				if _, err := fmt.Fprintln(w, strings.ReplaceAll(rr.String(), "\t", " ")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
