package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// fence is a block of a page: ``` with what it is, indented as it may be.
type fence struct {
	what string // as "sh lab"
	text string
	line int
}

func fences(t *testing.T, file string) (all []fence) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	open, indent := -1, ""
	for i, line := range strings.Split(string(text), "\n") {
		before, what, is := strings.Cut(line, "```")
		switch {
		case is && strings.TrimSpace(before) == "" && open < 0:
			all, open, indent = append(all, fence{what: what, line: i + 1}), len(all), before
		case is && strings.TrimSpace(before) == "":
			open = -1
		case open >= 0:
			all[open].text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open >= 0 {
		t.Errorf("%s:%d: this block has no end", file, all[open].line)
	}
	return all
}

// TestRunbooks does what the runbooks and the other pages say, a page in a fresh lab each: every
// block of "sh lab" works, and prints what the "text lab" below it says. A block may stand in a
// comment of the page, where readers need only what it prints.
func TestRunbooks(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for _, client := range []string{"sh", "curl", "dig", "crane", "openssl"} {
		trial.Client(t, client)
	}
	program, ran := bin(t, "breakwater"), 0
	bin(t, "lab") // beside it
	for _, page := range pages(t) {
		blocks := fences(t, page)
		if !slices.ContainsFunc(blocks, func(b fence) bool { return b.what == "sh lab" }) {
			continue
		}
		ran++
		t.Run(strings.TrimPrefix(page, "../../"), func(t *testing.T) {
			t.Parallel() // each waits for replications most of the time
			for _, client := range clientsIn(blocks) {
				trial.Client(t, client)
			}
			f := startLab(t)
			if f.Datacenters[0].GSLB == "" {
				t.Skip("this system has one loopback address")
			}
			for _, d := range f.Datacenters {
				f.serving(t, program, d)
			}
			home, printed := t.TempDir(), ""
			if err := os.Symlink(f.Datacenters[0].Fleet, filepath.Join(home, "fleet.yaml")); err != nil {
				t.Fatal(err)
			}
			for _, b := range blocks {
				switch b.what {
				case "sh lab":
					cmd := clientCommand(t, home, trial.Client(t, "sh"), "-eu", "-c", f.inLab(b.text))
					cmd.Env = append(cmd.Env, f.runbookEnv(program)...)
					text, err := cmd.CombinedOutput()
					if printed = string(text); err != nil {
						t.Fatalf("%s:%d: %v\n%s\n%s", page, b.line, err, b.text, text)
					}
				case "text lab":
					if !prints(printed, b.text) {
						t.Fatalf("%s:%d: want\n%s\nit prints\n%s", page, b.line, b.text, printed)
					}
				}
			}
		})
	}
	if ran == 0 {
		t.Error("no runbook has a block to run")
	}
}

// clientsIn are the further clients that lines of a page's blocks, or parts of a pipe, begin with.
func clientsIn(blocks []fence) (all []string) {
	for _, b := range blocks {
		for _, m := range regexp.MustCompile(`(?m)(?:^|\| )(cosign|helm|jq|oras|skopeo) `).FindAllStringSubmatch(b.text, -1) {
			if b.what == "sh lab" && !slices.Contains(all, m[1]) {
				all = append(all, m[1])
			}
		}
	}
	return all
}

// prints reports whether the parts of want, between … and line ends, are in the text,
// in their order.
func prints(text, want string) bool {
	for part := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(want), "\n", "…"), "…") {
		_, rest, ok := strings.Cut(text, strings.TrimSpace(part))
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

func TestPrints(t *testing.T) {
	for want, is := range map[string]bool{"one": true, "one … three": true, "one\n…\nthree": true, "three … one": false, "four": false, "one\nthree": true} {
		if prints("one two\nthree\n", want) != is {
			t.Errorf("%q: want %v", want, is)
		}
	}
}

// runbookEnv are the runbooks' variables, as their README has them.
func (f *fleetUnderTest) runbookEnv(program string) []string {
	here := f.Datacenters[0]
	host, port, _ := net.SplitHostPort(here.GSLB)
	var fleets []string
	for _, d := range f.Datacenters {
		fleets = append(fleets, d.Fleet)
	}
	return []string{
		"PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "NO_PROXY=*", "LC_ALL=C.UTF-8",
		"FLEET=" + here.Fleet, "FLEETS=" + strings.Join(fleets, " "),
		"EDGE=" + f.edge(0), "HARBOR=" + here.Harbor, "METRICS=" + here.Metrics, "HTTP=http", "CRANE=crane --insecure",
		"DNS=@" + host + " -p " + port, "DOMAIN=" + f.Domain, "CLIENT=10.1.2.3",
		"HARBOR_PASSWORD=" + f.Admin.Password, "HARBORS=" + f.harbors(), "SECRETS=" + filepath.Dir(filepath.Dir(here.Fleet)),
		"LAB=" + f.Dir,
		"UPSTREAM=" + f.Upstreams[0].URL,
		"READER=" + f.Robots[0].Name, "READER_SECRET=" + f.Robots[0].Secret,
		"WRITER=" + f.Robots[1].Name, "WRITER_SECRET=" + f.Robots[1].Secret,
	}
}

// harbors are the flags that say to export where the Harbors are.
func (f *fleetUnderTest) harbors() string {
	var flags []string
	for _, d := range f.Datacenters {
		flags = append(flags, "--harbor "+d.Name+"="+d.Harbor)
	}
	return strings.Join(flags, " ")
}

// TestCommandsInDocsExist: every command of ours in a page of the repository is one that the
// program has, with these flags.
func TestCommandsInDocsExist(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	t.Parallel()
	h := &helps{program: bin(t, "breakwater"), text: map[string]string{}}
	seen := 0
	for _, page := range pages(t) {
		for _, c := range commandsIn(t, page) {
			seen++
			if err := h.check(t, c.words); err != "" {
				t.Errorf("%s:%d: breakwater %s: %s", page, c.line, strings.Join(c.words, " "), err)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d commands were found", seen)
	}
	if h.check(t, []string{"gslb", "darin", "--config"}) == "" || h.check(t, []string{"gslb", "drain", "--fro", "1h"}) == "" || h.check(t, []string{"version", "old"}) == "" {
		t.Error("it does not see what is wrong")
	}
}

// pages are the documents of the repository, by path from here.
func pages(t *testing.T) (all []string) {
	t.Helper()
	root := "../../"
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") && d.Name() != "CHANGELOG.md" { // that has commands of past versions too
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

type docCommand struct {
	words []string // after breakwater
	line  int
}

var (
	inlineCommand = regexp.MustCompile("`breakwater ([^`]+)`")
	shellCommand  = regexp.MustCompile(`(?:^|[\s(;])(?:\./)?breakwater ([^|;&>#)]+)`)
)

// commandsIn are the commands of a page: in its blocks, and in its text between back quotes.
func commandsIn(t *testing.T, page string) (all []docCommand) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	inside := ""
	lines := strings.Split(strings.ReplaceAll(string(text), "\\\n", "  "), "\n")
	for i, line := range lines {
		if _, what, is := strings.Cut(line, "```"); is && strings.HasPrefix(strings.TrimSpace(line), "```") {
			if inside == "" {
				inside = what + "."
			} else {
				inside = ""
			}
			continue
		}
		found := inlineCommand
		if strings.HasPrefix(inside, "sh") {
			found = shellCommand
		} else if inside != "" {
			continue
		}
		for _, m := range found.FindAllStringSubmatch(line, -1) {
			// "install breakwater /usr/bin/" is no command of ours.
			if words := strings.Fields(m[1]); len(words) > 0 && words[0] != "…" && !strings.HasPrefix(words[0], "/") && !strings.HasPrefix(words[0], "./") {
				all = append(all, docCommand{words, i + 1})
			}
		}
	}
	return all
}

// helps is what the program says of its commands.
type helps struct {
	program string
	text    map[string]string
}

func (h *helps) of(t *testing.T, words []string) string {
	key := strings.Join(words, " ")
	if _, ok := h.text[key]; !ok {
		h.text[key] = output(t, exec.Command(h.program, append(slices.Clone(words), "--help")...))
	}
	return h.text[key]
}

var (
	subcommands = regexp.MustCompile(`(?m)^Available Commands:\n((?:  .*\n)+)`)
	flagWord    = regexp.MustCompile(`--[a-z][a-z-]*`)
	usage       = regexp.MustCompile(`(?m)^Usage:\n  (.*)$`)
	flagOfUsage = regexp.MustCompile(`--\S+( \S+)?|\[flags\]`)
)

// takesWords reports whether a command has more than flags, by its usage.
func takesWords(help string) bool {
	m := usage.FindStringSubmatch(help)
	return m != nil && regexp.MustCompile(`\b[A-Z]{4,}\b`).MatchString(flagOfUsage.ReplaceAllString(m[1], ""))
}

// check says what the program has not of a command; "" when it has all.
func (h *helps) check(t *testing.T, words []string) string {
	t.Helper()
	var command []string
	for _, word := range words {
		known := subcommands.FindStringSubmatch(h.of(t, command))
		if known == nil || strings.HasPrefix(word, "-") || strings.HasPrefix(word, `"`) {
			break
		}
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(word) + ` `).MatchString(known[1]) {
			return fmt.Sprintf("there is no %q", strings.Join(append(command, word), " "))
		}
		command = append(command, word)
	}
	help := h.of(t, command)
	if n := len(command); n > 0 && n < len(words) && !strings.HasPrefix(words[n], "-") && !takesWords(help) {
		return fmt.Sprintf("there is no %q", strings.Join(words[:n+1], " "))
	}
	if len(command) > 0 {
		for _, flag := range flagWord.FindAllString(strings.Join(words, " "), -1) {
			if !regexp.MustCompile(regexp.QuoteMeta(flag) + `\b`).MatchString(help) {
				return "there is no flag " + flag
			}
		}
	}
	return ""
}
