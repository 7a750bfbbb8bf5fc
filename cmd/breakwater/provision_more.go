package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/provision"
)

func provisionRotateCommand() *cobra.Command {
	var o provision.RotateOptions
	var config string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "rotate ROBOT --config fleet.yaml",
		Short: "Give a robot the secret that the fleet file leads to now, without a gap",
		Long: `Write the new secret where the fleet file's reference leads (in Vault, say), then
rotate the robot: sync, readonly, readwrite, or the edge's own by its name.

sync is known to the peers alone: a second robot takes its place while it gets the new
secret, replications that run are waited for, and in the end only the new secret works.
Other robots are known to users: beside each a successor gets the new secret, with the
date in its name; when all users have it, --finish gives the robot itself the new
secret, and "provision apply --prune" removes the successor.`,
		Example: `  breakwater provision rotate sync --config fleet.yaml
  breakwater provision rotate readonly --project repo1 --config fleet.yaml
  breakwater provision rotate readonly --project repo1 --finish --config fleet.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			harbors := provisioning{config: config}
			p, err := harbors.open(cmd)
			if err != nil {
				return err
			}
			defer p.Close()
			o.Robot = args[0]
			steps := stepsOf(cmd, &asJSON, harbors.bar, "rotating "+o.Robot)
			o.Progress = steps.step
			if err := steps.ended(map[string]any{"robot": o.Robot}, p.Rotate(cmd.Context(), o)); err != nil {
				return fmt.Errorf("rotate %s: %w", o.Robot, err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/breakwater/fleet.yaml", "the fleet file; - reads standard input")
	cmd.Flags().StringSliceVar(&o.Projects, "project", nil, "only in this multi-dc project, as the fleet file names it (again for more)")
	cmd.Flags().BoolVar(&o.Finish, "finish", false, "the old secret of a robot that users have ends")
	asJSON.register(cmd, "print one JSON object at the end: robot, done, steps")
	cmd.Flags().DurationVar(&o.Patience, "patience", 0, "how long running replications are waited for; 0: 15m")
	return cmd
}

func provisionExportCommand() *cobra.Command {
	var o provision.ExportOptions
	var harbors []string
	var password string
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "export --domain NAME --harbor DATACENTER=URL …",
		Short: "Write existing Harbors as a fleet file",
		Long: `Read one or several Harbors and print them as a fleet file. Harbor shows no secrets:
references stand in their places, and --secrets says where they lead. What the fleet
file cannot say is reported on stderr, and so is what a person must add. The file can
be loaded, or there is none. For what "provision apply" made it plans to nothing.`,
		Example: `  breakwater provision export --domain harbor.example.org --harbor par1=https://harbor.par1.example.org \
    --harbor mad1=https://harbor.mad1.example.org --password env:HARBOR_PASSWORD > fleet.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bar := progress.Show(cmd.ErrOrStderr())
			defer bar.End()
			o.Harbors, o.Waiting = map[string]string{}, waitingOn(cmd, bar)
			o.Progress = func(done, of int, what string) { bar.To(done, of, what) }
			for _, h := range harbors {
				name, url, ok := strings.Cut(h, "=")
				if !ok {
					return fmt.Errorf("--harbor %s: write DATACENTER=URL", h)
				}
				o.Harbors[name] = url
			}
			if len(o.Harbors) == 0 {
				return errors.New("there is no Harbor to export: write --harbor DATACENTER=URL")
			}
			scheme, path, _ := strings.Cut(password, ":")
			if scheme != "env" && scheme != "file" {
				return errors.New("--password is where the password is, as others would see it: write file:<path> or env:<NAME>")
			}
			secrets, err := secret.New(new(fleet.Fleet))
			if err != nil {
				return err
			}
			if o.Password, err = secrets.Get(cmd.Context(), fleet.Ref{Scheme: scheme, Path: path}); err != nil {
				return fmt.Errorf("--password: %w", err)
			}
			file, notes, err := provision.Export(cmd.Context(), o)
			bar.End()
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			for _, note := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			if asJSON.on() {
				return asJSON.printIndented(cmd.OutOrStdout(), map[string]any{"file": file, "notes": append([]string{}, notes...)})
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), file)
			return err
		},
	}
	cmd.Flags().StringVar(&o.Domain, "domain", "", "the one name of the fleet")
	cmd.Flags().StringArrayVar(&harbors, "harbor", nil, "a datacenter's name and its Harbor's address (again for more)")
	cmd.Flags().StringVar(&o.Username, "username", "admin", "an administrator")
	cmd.Flags().StringVar(&password, "password", "env:HARBOR_PASSWORD", "where the password is: file:<path> or env:<NAME>")
	cmd.Flags().StringVar(&o.CA, "ca", "", "file of the CA that signs the Harbors' certificates; default: the system's")
	cmd.Flags().StringVar(&o.Secret, "secrets", "file:/etc/breakwater/secrets/{what}", "the references that are written, {what} being the secret's name; or vault:secret/harbor#{what}")
	cmd.Flags().StringVar(&o.Vault, "vault", os.Getenv("VAULT_ADDR"), "the address of the Vault that --secrets leads to (the environment's VAULT_ADDR)")
	asJSON.register(cmd, "print one JSON object: file, which is the text of the fleet file, and notes")
	cmd.MarkFlagRequired("domain") //nolint:errcheck // the flag is there
	return cmd
}
