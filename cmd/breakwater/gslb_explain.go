package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"example.org/breakwater/gslb"
)

func gslbExplainCommand() *cobra.Command {
	admin := gslbAdmin()
	var client, name string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "explain --config fleet.yaml --client ADDRESS",
		Short: "Say which datacenter a client is answered with, and why",
		Long: `Say which datacenter the name server on this machine answers a client with, and
why: where it takes the client to be, who could serve it, and why each of the others
is not the answer. The same is in the TXT record of _why.<name>, for those whom
gslb.explain of the fleet file allows to ask.`,
		Example: `  breakwater gslb explain --config fleet.yaml --client 203.0.113.7
  dig @ns-par1.harbor.example.org _why.harbor.example.org TXT +subnet=203.0.113.0/24`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := admin.ask(cmd.Context(), http.MethodGet, "/explain?"+url.Values{"client": {client}, "name": {name}}.Encode())
			if err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			if asJSON.on() {
				return asJSON.print(cmd.OutOrStdout(), body)
			}
			var e gslb.Explanation
			if err := json.Unmarshal(body, &e); err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s for %s: %s %v\n\n", e.Name, e.Client, orNobody(e.Datacenter), e.Addresses)
			for _, line := range e.Sentences {
				fmt.Fprintln(out, line)
			}
			return nil
		},
	}
	admin.register(cmd)
	cmd.Flags().StringVar(&client, "client", "", "the client's address or network")
	cmd.Flags().StringVar(&name, "name", "", "the name that it asks for; default: the fleet's domain")
	asJSON.register(cmd, "print one JSON object")
	cmd.MarkFlagRequired("client") //nolint:errcheck // the flag is there
	return cmd
}

func orNobody(datacenter string) string {
	if datacenter == "" {
		return "nobody"
	}
	return datacenter
}
