package gslb

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

var update = flag.Bool("update", false, "write what tests compare into protocol.md")

// peer is a name server of others that answers the same questions from the same
// zone: what we do alone is to be known, and meant.
type peer struct {
	name      string
	program   string
	version   []string // asks for its version
	configure func(t *testing.T, dir, port string) (args []string)
	started   string // what it logs when it answers
}

func peers() []peer {
	return []peer{
		{"gdnsd", "gdnsd", []string{"-V"}, configureGdnsd, "DNS listeners started"},
		{"Knot", "knotd", []string{"-V"}, configureKnot, "server started"},
	}
}

func configureGdnsd(t *testing.T, dir, port string) []string {
	write(t, filepath.Join(dir, "config"), fmt.Sprintf(`
options => {
  listen => 127.0.0.1:%s
  run_dir => %s/run
  state_dir => %s/state
  nsid_ascii => ns-par1
  udp_threads => 1
  tcp_threads => 1
}
`, port, dir, dir))
	write(t, filepath.Join(dir, "zones", strings.TrimSuffix(zoneOrigin, ".")), readZone(t))
	return []string{"-c", dir, "start"}
}

func configureKnot(t *testing.T, dir, port string) []string {
	config := filepath.Join(dir, "knot.conf")
	write(t, config, fmt.Sprintf(`
server:
  listen: 127.0.0.1@%s
  rundir: %s
  nsid: ns-par1
  edns-client-subnet: on
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %s
log:
  - target: stderr
    any: info
mod-cookies:
  - id: plain
template:
  - id: default
    storage: %s
    global-module: mod-cookies/plain
zone:
  - domain: %s
    file: zone
    zonefile-sync: -1
    journal-content: none
`, port, dir, dir, dir, zoneOrigin))
	write(t, filepath.Join(dir, "zone"), readZone(t))
	return []string{"-c", config, "-s", filepath.Join(dir, "socket")}
}

func readZone(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(zoneFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs the peer until the test ends, and says where and which it is.
func (p peer) start(t *testing.T) (server, version string) {
	t.Helper()
	program := trial.Client(t, p.program) // apt-get install --no-install-recommends gdnsd knot
	about, _ := exec.CommandContext(t.Context(), program, p.version...).CombinedOutput()
	for word := range strings.FieldsSeq(string(about)) {
		if strings.Count(word, ".") == 2 {
			version = word
			break
		}
	}
	server = trial.Free(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(server)
	startUntil(t, p.started, program, p.configure(t, t.TempDir(), port)...)
	return server, version
}

// startUntil runs a program until the test ends, and returns when it logs that it answers.
func startUntil(t *testing.T, started, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // which says that it was killed
	})
	var said []string
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if said = append(said, lines.Text()); strings.Contains(lines.Text(), started) {
			go io.Copy(io.Discard, log)
			return
		}
	}
	t.Fatalf("%s does not start:\n%s", program, strings.Join(said, "\n"))
}

// TestProtocolPeers asks the peers what we are asked, and holds protocol.md's table
// against it. What depends on our own configuration is left out.
func TestProtocolPeers(t *testing.T) {
	anySize := regexp.MustCompile("edns=[0-9]+")
	var servers []string
	head, line := "| item | breakwater |", "|---|---|"
	for _, p := range peers() {
		server, version := p.start(t)
		servers = append(servers, server)
		head += fmt.Sprintf(" %s %s |", p.name, version)
		line += "---|"
	}
	rows := []string{head, line}
	sized := false // what size a peer receives is told once
	for _, test := range readTests(t) {
		if test.own {
			continue
		}
		row := fmt.Sprintf("| %s | %s |", test.title, firstLine(test.want))
		for _, server := range servers {
			ask := askUDP
			if !test.udp {
				ask = askTCP
			}
			got := readable(test.query, ask(t, server, test.query))
			if sized {
				got = anySize.ReplaceAllString(got, "edns")
			}
			row += fmt.Sprintf(" %s |", difference(got, test.want))
		}
		rows = append(rows, row)
		sized = sized || strings.Contains(test.want, "edns")
	}
	compareProtocol(t, strings.Join(rows, "\n"))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// difference is what a peer answers where it is not what we answer.
func difference(got, want string) string {
	if got == want {
		return "same"
	}
	said := firstLine(got)
	if counts(got) != counts(want) {
		said += ", " + counts(got)
	} else if said == firstLine(want) {
		said += ", other records"
	}
	return said
}

// counts is how many records the sections of a readable response have.
func counts(s string) string {
	n, section := [3]int{}, 0
	for i, line := range strings.Split(s, "\n") {
		switch {
		case i == 0:
		case line == "authority":
			section = 1
		case line == "additional":
			section = 2
		default:
			n[section]++
		}
	}
	return fmt.Sprintf("%d+%d+%d records", n[0], n[1], n[2])
}

// compareProtocol holds the table in protocol.md, between its markers, against what
// was found; with -update it writes it.
func compareProtocol(t *testing.T, table string) {
	t.Helper()
	const begin, end = "<!-- protocol: made by TestProtocolPeers -update -->\n", "\n<!-- protocol: end -->"
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	have, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("protocol.md has no markers for its table")
	}
	switch {
	case have == table:
	case *update:
		write(t, "protocol.md", before+begin+table+end+after)
	default:
		t.Errorf("protocol.md's table is not what is found now; go test -run TestProtocolPeers -update ./gslb\n%s", table)
	}
}
