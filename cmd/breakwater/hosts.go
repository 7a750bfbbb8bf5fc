package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	public  bool // else it wants a login
}

// configFile is a file of a node's container engine.
type configFile struct {
	Path    string `json:"path"` // below the engine's directory
	Content string `json:"content"`
}

// nodeFiles is what a node needs, in JSON.
type nodeFiles struct {
	Engine    string       `json:"engine"`
	Directory string       `json:"directory"`
	Files     []configFile `json:"files"`
	Notes     []string     `json:"notes"` // what is left out, or to be done by hand
}

// hostsOptions say how nodes reach the edges.
type hostsOptions struct {
	base *url.URL // of the one name
	ca   string   // on the nodes
}

// engines are those that breakwater hosts writes for, with where the files go.
var engines = map[string]struct {
	dir   string
	files func(mirrors []mirror, o hostsOptions) (files []configFile, notes []string, err error)
}{
	"containerd": {"/etc/containerd/certs.d", containerdFiles},
	"docker":     {"/etc/docker", dockerFiles},
	"podman":     {"/etc/containers", podmanFiles},
}

func hostsCommand() *cobra.Command {
	var config, engine, base, out string
	var o hostsOptions
	var asJSON jsonFlag
	cmd := &cobra.Command{
		Use:   "hosts --config fleet.yaml --for containerd|docker|podman",
		Short: "Print what a node needs to pull images of public registries through the caches",
		Long: `Print the files with which a node's container engine pulls from Docker Hub,
quay.io and the other registries that the fleet has caches of through this fleet,
under the images' own names, and from the registry itself where the fleet cannot be
reached:

  containerd   hosts.toml of each registry, below /etc/containerd/certs.d
  docker       daemon.json in /etc/docker (Docker Hub alone: docker has no mirrors of others)
  podman       registries.conf in /etc/containers, for CRI-O, buildah and skopeo too

A cache with public: true needs nothing else. One without lets in those who log in:
containerd by a header in hosts.toml, podman by "podman login", and docker not at all,
for it has no login at mirrors. What is to be done is in the files, and on stderr.`,
		Example: `  breakwater hosts --config fleet.yaml --for containerd --out /etc/containerd/certs.d
  breakwater hosts --config fleet.yaml --for podman > /etc/containers/registries.conf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write := engines[engine]
			f, err := readFleet(cmd.InOrStdin(), config)
			if err != nil {
				return err
			}
			if base == "" {
				base = "https://" + f.Domain
			}
			if o.base, err = url.Parse(base); err != nil || !isSite(o.base) {
				return misused(cmd, "--url: want https://host, and nothing else")
			}
			mirrors, notes := mirrorsOf(f)
			files, more, err := write.files(mirrors, o)
			notes = append(notes, more...)
			for _, note := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			switch {
			case err != nil:
				return err
			case asJSON.on() && out != "":
				return misused(cmd, "--json prints the files, and --out writes them; want one of the two")
			case asJSON.on():
				return asJSON.printIndented(cmd.OutOrStdout(), nodeFiles{engine, write.dir, files, append([]string{}, notes...)})
			}
			return writeFiles(cmd.OutOrStdout(), files, write.dir, out)
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&engine, "for", "", "the engine: containerd, docker or podman")
	cmd.Flags().StringVar(&base, "url", "", "how nodes reach the fleet (default https:// and the fleet's domain)")
	cmd.Flags().StringVar(&o.ca, "ca", "", "file on the nodes with the CA that signs the edges' certificate (containerd)")
	asJSON.register(cmd, "print one JSON object: engine, directory, files, notes")
	cmd.Flags().StringVar(&out, "out", "", "write the files below this directory instead of printing them")
	for _, name := range []string{"config", "for"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	return cmd
}

// isSite reports whether a URL is a scheme and a host, and nothing else.
func isSite(u *url.URL) bool {
	return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// mirrorsOf returns the caches that nodes can use, one for each registry, and what is to
// be said of the others.
func mirrorsOf(f *fleet.Fleet) (mirrors []mirror, notes []string) {
	taken := map[string]string{}
	for _, name := range f.Projects.Cache.Names() {
		cache := f.Projects.Cache.Items[name]
		m := mirror{cache.Host(), naming.Cache + name, cache.OpenEverywhere()}
		if m.host == "" {
			notes = append(notes, fmt.Sprintf("%s is left out: %s is a part of a registry, and mirrors are of whole ones; pull it as %s/%s/…", m.project, cache.Endpoint, f.Domain, m.project))
			continue
		}
		if other := taken[m.host]; other != "" {
			notes = append(notes, fmt.Sprintf("%s is left out: %s is of %s too, and is what nodes get", m.project, other, m.host))
			continue
		}
		taken[m.host] = m.project
		mirrors = append(mirrors, m)
	}
	slices.SortFunc(mirrors, func(a, b mirror) int { return strings.Compare(a.host, b.host) })
	if a := f.Projects.Artifactory; a != nil {
		notes = append(notes, fmt.Sprintf("the repositories of %s are left out: which there are is found out later; pull them as %s/%s<key>/…", a.URL, f.Domain, naming.Cache))
	}
	return mirrors, notes
}

// writeFiles prints the files with where on a node they go, or writes them below a directory.
func writeFiles(w io.Writer, files []configFile, dir, out string) error {
	for i, f := range files {
		if out == "" {
			if !strings.HasSuffix(f.Path, ".json") { // which has no comments
				fmt.Fprintf(w, "%s# %s\n", strings.Repeat("\n", min(i, 1)), filepath.Join(dir, f.Path))
			}
			io.WriteString(w, f.Content) //nolint:errcheck // as for all that is printed
			continue
		}
		path := filepath.Join(out, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.Content), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(w, path)
	}
	return nil
}

var errNoMirrors = errors.New("the fleet file has no cache (projects.cache) that nodes could use")

// containerdFiles are the registries' hosts.toml (containerd's docs/hosts.md).
// containerd says by ?ns= which registry it means.
func containerdFiles(mirrors []mirror, o hostsOptions) (files []configFile, notes []string, err error) {
	if len(mirrors) == 0 {
		return nil, nil, errNoMirrors
	}
	for _, m := range mirrors {
		server := m.host
		if server == "docker.io" {
			server = "registry-1.docker.io"
		}
		path := filepath.Join(m.host, "hosts.toml")
		text := fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "https://"+server, o.base.String())
		if o.ca != "" {
			text += fmt.Sprintf("  ca = %q\n", o.ca)
		}
		if !m.public {
			text += fmt.Sprintf(containerdLogin, m.project, o.base.String())
			notes = append(notes, m.project+" is private: put a login into "+path+", which says how; until then nodes pull from "+m.host+" itself")
		}
		files = append(files, configFile{path, text})
	}
	return files, notes, nil
}

// containerdLogin is how containerd logs in at a mirror.
const containerdLogin = `
  # %s is private. Let nodes in by a robot account that may pull from it, and let root alone read this file:
  #   printf %%s 'robot$NAME:SECRET' | base64 -w0
  # [host.%q.header]
  #   authorization = "Basic <what that prints>"
`

// dockerFiles are dockerd's daemon.json: it knows mirrors of Docker Hub alone.
func dockerFiles(mirrors []mirror, o hostsOptions) (files []configFile, notes []string, err error) {
	err = errors.New("the fleet file has no cache of Docker Hub, and docker has no mirrors of others")
	for _, m := range mirrors {
		byName := fmt.Sprintf("%s/%s/…", o.base.Host, m.project)
		switch {
		case m.host != "docker.io" && m.public:
			notes = append(notes, fmt.Sprintf("docker has no mirrors of %s: pull %s instead", m.host, byName))
		case m.host != "docker.io":
			notes = append(notes, fmt.Sprintf("docker has no mirrors of %s: docker login %s, and pull %s instead", m.host, o.base.Host, byName))
		case !m.public:
			err = fmt.Errorf("%s is private, and docker has no login at mirrors: docker login %s, and pull %s; or set public: true there", m.project, o.base.Host, byName)
		default:
			config := map[string][]string{"registry-mirrors": {o.base.JoinPath(m.project).String()}}
			if o.base.Scheme == "http" {
				config["insecure-registries"] = []string{o.base.Host}
			}
			var text []byte
			text, err = json.MarshalIndent(config, "", "  ")
			files = []configFile{{"daemon.json", string(text) + "\n"}}
		}
	}
	return files, notes, err
}

// podmanFiles are registries.conf (containers-registries.conf(5)).
func podmanFiles(mirrors []mirror, o hostsOptions) (files []configFile, notes []string, err error) {
	if len(mirrors) == 0 {
		return nil, nil, errNoMirrors
	}
	text := "unqualified-search-registries = [\"docker.io\"]\n"
	for _, m := range mirrors {
		text += fmt.Sprintf("\n[[registry]]\nprefix = %q\nlocation = %q\n\n", m.host, m.host)
		if !m.public {
			text += fmt.Sprintf("# %s is private: podman login %s. CRI-O takes a login from global_auth_file.\n", m.project, o.base.Host)
			notes = append(notes, fmt.Sprintf("%s is private: podman login %s; until then nodes pull from %s itself", m.project, o.base.Host, m.host))
		}
		text += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\n", o.base.Host+"/"+m.project)
		if o.base.Scheme == "http" {
			text += "insecure = true\n"
		}
	}
	return []configFile{{"registries.conf", text}}, notes, nil
}
