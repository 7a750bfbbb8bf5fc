package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// mirror is a cache as a node is to use it: instead of the registry that it is of.
type mirror struct {
	host    string // as images name it: docker.io
	project string
	public  bool
}

// configFile is a file of a node's container engine.
type configFile struct {
	path    string // below the engine's directory
	content string
}

// hostsOptions say how nodes reach the edges.
type hostsOptions struct {
	base *url.URL // of the one name
	ca   string   // on the nodes
}

// engines are those that breakwater hosts writes for, with where the files go.
var engines = map[string]struct {
	dir   string
	files func(mirrors []mirror, o hostsOptions) ([]configFile, error)
}{
	"containerd": {"/etc/containerd/certs.d", containerdFiles},
	"docker":     {"/etc/docker", dockerFiles},
	"podman":     {"/etc/containers", podmanFiles},
}

func hostsCommand() *cobra.Command {
	var config, engine, base, out string
	var o hostsOptions
	cmd := &cobra.Command{
		Use:   "hosts --config fleet.yaml --for containerd|docker|podman",
		Short: "Print what a node needs to pull public images through the caches",
		Long: `Print the files with which a node's container engine pulls from Docker Hub,
quay.io and the other registries that the fleet has caches of through this fleet,
under the images' own names, and from the registry itself where the fleet cannot be
reached:

  containerd   hosts.toml of each registry, below /etc/containerd/certs.d
  docker       daemon.json in /etc/docker (Docker Hub alone: docker has no mirrors of others)
  podman       registries.conf in /etc/containers, for CRI-O, buildah and skopeo too

Such clients send no credentials to a mirror: a cache that is not public is left
out, with a sentence on stderr.`,
		Example: `  breakwater hosts --config fleet.yaml --for containerd --out /etc/containerd/certs.d
  breakwater hosts --config fleet.yaml --for podman > /etc/containers/registries.conf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := engines[engine]
			if !ok {
				return misused(cmd, "--for %s: want one of %s", engine, strings.Join(slices.Sorted(maps.Keys(engines)), ", "))
			}
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			if base == "" {
				base = "https://" + f.Domain
			}
			if o.base, err = url.Parse(base); err != nil || o.base.Host == "" || strings.Trim(o.base.Path, "/") != "" {
				return misused(cmd, "--url %s: want https://host", base)
			}
			mirrors, private := mirrorsOf(f)
			for _, m := range private {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s is left out: %s is private, and mirrors are asked without credentials; set public: true there\n", m.host, m.project)
			}
			files, err := write.files(mirrors, o)
			if err != nil {
				return err
			}
			return writeFiles(cmd.OutOrStdout(), files, write.dir, out)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&engine, "for", "", "the engine: containerd, docker or podman")
	cmd.Flags().StringVar(&base, "url", "", "how nodes reach the fleet (default https:// and the fleet's domain)")
	cmd.Flags().StringVar(&o.ca, "ca", "", "file on the nodes with the CA that signs the edges' certificate (containerd)")
	cmd.Flags().StringVar(&out, "out", "", "write the files below this directory instead of printing them")
	for _, name := range []string{"config", "for"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	return cmd
}

// mirrorsOf returns the caches that nodes can use without credentials, and those
// that they cannot.
func mirrorsOf(f *fleet.Fleet) (public, private []mirror) {
	for name, cache := range f.Projects.Cache.Items {
		m := mirror{cache.Host(), naming.Cache + name, cache.Public != nil && *cache.Public}
		if m.public {
			public = append(public, m)
		} else {
			private = append(private, m)
		}
	}
	byHost := func(a, b mirror) int { return strings.Compare(a.host, b.host) }
	slices.SortFunc(public, byHost)
	slices.SortFunc(private, byHost)
	return public, private
}

// writeFiles prints the files with where on a node they go, or writes them below a directory.
func writeFiles(w io.Writer, files []configFile, dir, out string) error {
	for i, f := range files {
		if out == "" {
			if len(files) > 1 {
				fmt.Fprintf(w, "%s# %s\n", strings.Repeat("\n", min(i, 1)), filepath.Join(dir, f.path))
			}
			io.WriteString(w, f.content) //nolint:errcheck // as for all that is printed
			continue
		}
		path := filepath.Join(out, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.content), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(w, path)
	}
	return nil
}

var errNoMirrors = errors.New("the fleet file has no public cache that nodes could use")

// containerdFiles are the registries' hosts.toml (containerd's docs/hosts.md).
// containerd says by ?ns= which registry it means.
func containerdFiles(mirrors []mirror, o hostsOptions) (files []configFile, err error) {
	if len(mirrors) == 0 {
		return nil, errNoMirrors
	}
	for _, m := range mirrors {
		server := m.host
		if server == "docker.io" {
			server = "registry-1.docker.io"
		}
		text := fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "https://"+server, o.base.String())
		if o.ca != "" {
			text += fmt.Sprintf("  ca = %q\n", o.ca)
		}
		files = append(files, configFile{filepath.Join(m.host, "hosts.toml"), text})
	}
	return files, nil
}

// dockerFiles are dockerd's daemon.json: it knows mirrors of Docker Hub alone.
func dockerFiles(mirrors []mirror, o hostsOptions) ([]configFile, error) {
	for _, m := range mirrors {
		if m.host != "docker.io" {
			continue
		}
		config := map[string][]string{"registry-mirrors": {o.base.JoinPath(m.project).String()}}
		if o.base.Scheme == "http" {
			config["insecure-registries"] = []string{o.base.Host}
		}
		text, err := json.MarshalIndent(config, "", "  ")
		return []configFile{{"daemon.json", string(text) + "\n"}}, err
	}
	return nil, errors.New("the fleet file has no public cache of Docker Hub, and docker has no mirrors of others")
}

// podmanFiles are registries.conf (containers-registries.conf(5)).
func podmanFiles(mirrors []mirror, o hostsOptions) ([]configFile, error) {
	if len(mirrors) == 0 {
		return nil, errNoMirrors
	}
	text := "unqualified-search-registries = [\"docker.io\"]\n"
	for _, m := range mirrors {
		text += fmt.Sprintf("\n[[registry]]\nprefix = %q\nlocation = %q\n\n[[registry.mirror]]\nlocation = %q\n", m.host, m.host, o.base.Host+"/"+m.project)
		if o.base.Scheme == "http" {
			text += "insecure = true\n"
		}
	}
	return []configFile{{"registries.conf", text}}, nil
}
