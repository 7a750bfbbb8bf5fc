package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

// sketch is what a first fleet file is made of.
type sketch struct {
	domain      string
	datacenters []pair // their Harbors
	edges       []pair
	caches      []pair // their upstreams; "": as the name says
	projects    []string
	minimal     bool // no certificate and no secrets
}

// pair is a name and what it stands for, as name=value.
type pair struct{ name, value string }

func initCommand() *cobra.Command {
	var s sketch
	var datacenters, edges, caches []string
	out, force := "fleet.yaml", false
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first fleet file",
		Long: `Write a small fleet file with comments, which "breakwater check" takes. On a terminal
what is not given by flags is asked for; elsewhere --domain and --datacenter are needed.
A file that is there is kept, unless --force is given. "--out -" writes to standard
output.

With --minimal an edge starts with the file as it is: on plain HTTP (port 80), with no
account of its own, for what anybody may pull and for clients that log in.

--cache takes dockerhub, the name of a registry (quay.io, ghcr.io), or any name with
its upstream: mirror=https://registry.example.net.`,
		Example: `  breakwater init
  breakwater init --domain harbor.example.org --datacenter par1=https://harbor.par1.example.org --cache dockerhub
  breakwater init --domain harbor.example.org \
    --datacenter par1=https://harbor.par1.example.org --edge par1=https://edge.par1.example.org \
    --datacenter mad1=https://harbor.mad1.example.org --edge mad1=https://edge.mad1.example.org \
    --cache dockerhub --cache quay.io --project app`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Lstat(out); err == nil && out != "-" && !force {
				return fmt.Errorf("%s is there already, and stays as it is; write another --out, or --force to replace it", out)
			}
			err := errors.Join(pairs("datacenter", datacenters, &s.datacenters), pairs("edge", edges, &s.edges), pairs("cache", caches, &s.caches))
			if err != nil {
				return err
			}
			for i, name := range s.projects {
				if name == "defaults" || slices.Contains(s.projects[:i], name) {
					return fmt.Errorf("--project %s is the name of something else already; write another one, or once", name)
				}
			}
			if err := s.complete(cmd); err != nil {
				return err
			}
			return s.write(cmd, out, force)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.domain, "domain", "", "the one name that clients use")
	flags.StringArrayVar(&datacenters, "datacenter", nil, "`NAME=URL` of a datacenter and its Harbor; for each")
	flags.StringArrayVar(&edges, "edge", nil, "`NAME=URL` of a datacenter and how others reach its edge; for each")
	flags.StringArrayVar(&caches, "cache", nil, "`NAME` or NAME=URL of an upstream that is cached; for each")
	flags.StringArrayVar(&s.projects, "project", nil, "`NAME` of a project that all datacenters share; for each")
	flags.BoolVar(&s.minimal, "minimal", false, "what an edge needs to start and no more: plain HTTP, no secrets; the rest is there as comments")
	flags.StringVar(&out, "out", out, "the file to write")
	flags.BoolVar(&force, "force", false, "replace a file that is there")
	return cmd
}

func pairs(flag string, given []string, into *[]pair) error {
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if flag == "cache" && (name == "" || strings.Contains(name, "/")) {
			return fmt.Errorf("--cache %q is no cache; write --cache dockerhub, --cache quay.io, or --cache mirror=https://registry.example.net", text)
		}
		if name == "" || !ok && flag != "cache" {
			return fmt.Errorf("--%s %q has no name and address; write --%s par1=https://%s.par1.example.org", flag, text, flag, map[string]string{"datacenter": "harbor", "edge": "edge"}[flag])
		}
		if slices.ContainsFunc(*into, func(p pair) bool { return p.name == name }) {
			return fmt.Errorf("--%s %s stands there twice", flag, name)
		}
		*into = append(*into, pair{name, value})
	}
	return nil
}

// complete asks for what is missing, where there is somebody to ask.
func (s *sketch) complete(cmd *cobra.Command) error {
	if s.domain != "" && len(s.datacenters) > 0 {
		return nil
	}
	if _, isFile := cmd.InOrStdin().(*os.File); !isFile || isTerminal(cmd.InOrStdin()) {
		return s.ask(&questions{ctx: cmd.Context(), in: cmd.InOrStdin(), out: cmd.ErrOrStderr()})
	}
	return s.missing()
}

func (s *sketch) missing() error {
	var flags []string
	if s.domain == "" {
		flags = append(flags, "--domain harbor.example.org")
	}
	if len(s.datacenters) == 0 {
		flags = append(flags, "--datacenter par1=https://harbor.par1.example.org")
	}
	return fmt.Errorf("there is no terminal to ask on; write %s", strings.Join(flags, " and "))
}

// write checks the file before anybody sees it.
func (s *sketch) write(cmd *cobra.Command, out string, force bool) error {
	text := s.text()
	if _, err := fleet.Load(out, []byte(text)); err != nil {
		var faults fleet.Faults
		if !errors.As(err, &faults) {
			return err
		}
		var all []error
		for _, f := range faults {
			all = append(all, fmt.Errorf("%s: %s", f.Field, f.Message))
		}
		return fmt.Errorf("nothing was written:\n%w", errors.Join(all...))
	}
	if out == "-" {
		_, err := io.WriteString(cmd.OutOrStdout(), text)
		return err
	}
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(out, how, 0o644)
	var why *fs.PathError
	if errors.As(err, &why) {
		return fmt.Errorf("%q cannot be written (%w); write another --out", out, why.Err)
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	fmt.Fprint(cmd.OutOrStdout(), s.next(out))
	return nil
}

// next is what to do with the file.
func (s *sketch) next(out string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is written. Next:\n", out)
	if !s.minimal {
		fmt.Fprintf(&b, "  put the secrets where it looks for them (file:…), or change where it looks\n")
	}
	fmt.Fprintf(&b, "  breakwater schema > fleet.schema.json              # for editors\n")
	fmt.Fprintf(&b, "  breakwater check %s\n", out)
	fmt.Fprintf(&b, "  breakwater provision plan --config %s      # then apply: the Harbors as it says\n", out)
	for _, dc := range s.datacenters {
		fmt.Fprintf(&b, "  breakwater edge --config %s --datacenter %s\n", out, dc.name)
	}
	return b.String()
}
