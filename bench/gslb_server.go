package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/template"
	"time"

	"example.org/breakwater/internal/ports"
)

// nameKind is a program that answers where the nearest datacenter is.
type nameKind struct {
	name    string
	files   string // its configuration: a directory below peers/gslb
	program string // what is looked for; "": built here
	apt     string // the packages that have it
	command func(binary string, s *nameSettings) []string
	keys    func(binary string, s *nameSettings) []string // the command that makes its keys; nil: it does not sign
	version func(binary string) string
	static  bool // it sends everybody to the first site
	signed  bool // its zone is signed

	watch             bool // it asks for the sites' health as fast as it can, or:
	interval, timeout time.Duration
}

// nameKinds are the name servers under load, in the order of the result.
func nameKinds() []nameKind {
	return []nameKind{
		breakwaterKind(),
		gdnsdKind(),
		{name: "knot", files: "knot", program: "knotd", apt: "knot knot-module-geoip",
			command: func(binary string, s *nameSettings) []string {
				return []string{binary, "-c", filepath.Join(s.Dir, "knot.conf"), "-s", filepath.Join(s.Dir, "socket")}
			},
			keys: func(binary string, s *nameSettings) []string {
				return []string{filepath.Join(filepath.Dir(binary), "keymgr"), "-c", filepath.Join(s.Dir, "knot.conf"), s.Zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"}
			},
			version: func(binary string) string { return firstLine(binary, "--version") + ", mod-geoip by subnet" }},
		pdnsKind("pdns", "pdns", "pdns-backend-geoip", "geoip backend"),
		{name: "coredns", files: "coredns", program: "coredns", static: true,
			command: func(binary string, s *nameSettings) []string {
				return []string{binary, "-conf", filepath.Join(s.Dir, "Corefile"), "-quiet"}
			},
			version: func(binary string) string { return firstLine(binary, "-version") + ", file plugin: no geography" }},
		{name: "echo", static: true,
			command: func(binary string, s *nameSettings) []string { return []string{binary, "echo", "--listen", s.Listen} },
			version: func(string) string {
				return "miekg/dns " + moduleVersion("github.com/miekg/dns") + ", one answer for all"
			}},
	}
}

// signedKinds are those that sign what they answer a client with, by ECDSA P-256.
func signedKinds() (kinds []nameKind) {
	for _, k := range nameKinds() {
		if k.keys != nil {
			k.name, k.signed = k.name+" signed", true
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func breakwaterKind() nameKind {
	return nameKind{name: "breakwater", files: "breakwater",
		command: func(binary string, s *nameSettings) []string {
			return []string{binary, "gslb", "--config", filepath.Join(s.Dir, "fleet.yaml"), "--datacenter", "par1"}
		},
		keys: func(binary string, s *nameSettings) []string {
			return []string{binary, "gslb", "keygen", "--config", filepath.Join(s.Dir, "fleet.yaml")}
		},
		version: func(binary string) string { return firstLine(binary, "version") + revision(binary) }}
}

func gdnsdKind() nameKind {
	return nameKind{name: "gdnsd", files: "gdnsd", program: "gdnsd", apt: "gdnsd",
		command: func(binary string, s *nameSettings) []string { return []string{binary, "-c", s.Dir, "start"} },
		version: func(binary string) string { return versionWord(binary, "gdnsd version ", "-V") + ", geoip by nets" }}
}

func pdnsKind(name, files, backend, what string) nameKind {
	return nameKind{name: name, files: files, program: "pdns_server", apt: "pdns-server " + backend,
		command: func(binary string, s *nameSettings) []string { return []string{binary, "--config-dir=" + s.Dir} },
		version: func(binary string) string {
			return "PowerDNS " + versionWord(binary, "Authoritative Server ", "--version") + ", " + what
		}}
}

// versionWord is the word behind a text that the program says somewhere, whatever
// its status is then.
func versionWord(binary, behind string, args ...string) string {
	out, _ := exec.Command(binary, args...).CombinedOutput()
	_, rest, _ := strings.Cut(string(out), behind)
	word, _, _ := strings.Cut(rest, " ")
	word, _, _ = strings.Cut(word, "\n")
	return word
}

// moduleVersion is of a module that this program is built with.
func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "of unknown version"
}

// nameSettings is what a name server's configuration is filled in with.
type nameSettings struct {
	Dir, Listen, Host, Port, Metrics, Admin string
	At                                      string // as Knot writes Listen
	Zone, Health                            string // Health is the port that the sites' health is asked at
	Sites                                   []site
	Networks                                []network
	Threads                                 int
	Signed                                  bool
	Watch                                   bool
	Interval, Timeout                       time.Duration
}

// nameServer is one that runs.
type nameServer struct {
	nameKind
	nameSettings
	process *process
}

// newNameServer starts one on the n-th address of 127.0.60.0/24.
func (e *nameEnvironment) newNameServer(ctx context.Context, k nameKind, n int) (*nameServer, error) {
	host := netip.AddrFrom4([4]byte{127, 0, 60, byte(n)}).String()
	free, err := ports.Free(host, 3)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(free[0])
	s := &nameServer{nameKind: k, nameSettings: nameSettings{
		Dir: filepath.Join(e.dir, "of", strings.NewReplacer(" ", "-", "/", "-").Replace(k.name)), Listen: free[0], Host: host, Port: port, At: host + "@" + port, Metrics: free[1], Admin: free[2],
		Zone: geoZone, Health: strconv.Itoa(e.health.port), Sites: sites(), Networks: e.networks, Threads: runtime.NumCPU(), Signed: k.signed,
		Watch: k.watch || k.interval > 0, Interval: k.interval, Timeout: k.timeout,
	}}
	if err := s.configure(); err != nil {
		return nil, fmt.Errorf("configure %s: %w", k.name, err)
	}
	if k.signed {
		args := k.keys(e.binaries[k.name], &s.nameSettings)
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make a key for %s: %w: %s", k.name, err, out)
		}
	}
	log := filepath.Join(s.Dir, "log")
	if s.process, err = startProcess(log, k.command(e.binaries[k.name], &s.nameSettings)...); err != nil {
		return nil, fmt.Errorf("start %s: %w", k.name, err)
	}
	if err := s.await(ctx, e.questions[0]); err != nil {
		s.process.stop()
		return nil, fmt.Errorf("start %s: %w; its log ends: %s", k.name, err, lastLines(log))
	}
	if k.files == "breakwater" {
		e.say("profiles of %s: http://%s/debug/pprof/", k.name, s.Admin)
	}
	return s, nil
}

// configure fills the files in and puts them into the server's directory.
func (s *nameServer) configure() error {
	if err := os.MkdirAll(filepath.Join(s.Dir, "run"), 0o755); err != nil || s.files == "" {
		return err
	}
	root := "peers/gslb/" + s.files
	return fs.WalkDir(peerFiles, root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(peerFiles, path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Funcs(template.FuncMap{"join": func(by string, words []string) string { return strings.Join(words, by) }}).Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, &s.nameSettings); err != nil {
			return err
		}
		to := filepath.Join(s.Dir, strings.TrimPrefix(path, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, out.Bytes(), 0o644)
	})
}

// await asks until there is an answer.
func (s *nameServer) await(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for {
		c, err := dialName(s.Listen)
		if err == nil {
			_, err = c.ask(q.wire, 100*time.Millisecond)
			c.conn.Close()
		}
		if err == nil {
			return nil
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-s.process.done:
			return fmt.Errorf("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-timer.C:
		}
	}
}
