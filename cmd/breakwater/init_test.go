package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/fleet"
)

// initialise runs init; in is what is answered, nil where there is no terminal.
func initialise(t *testing.T, ctx context.Context, in io.Reader, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := initCommand()
	var out, questions bytes.Buffer
	if in == nil {
		file, err := os.Open("init_test.go")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		in = file
	}
	cmd.SetIn(in)
	cmd.SetOut(&out)
	cmd.SetErr(&questions)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(ctx)
	return out.String(), questions.String(), err
}

var two = []string{"--domain", "harbor.example.org", "--datacenter", "par1=https://harbor.par1.example.org", "--edge", "par1=https://edge.par1.example.org",
	"--datacenter", "mad1=https://harbor.mad1.example.org", "--edge", "mad1=https://edge.mad1.example.org", "--cache", "dockerhub", "--cache", "quay.io", "--cache", "own=https://registry.example.net:5000", "--project", "app"}

// A minimal file needs nothing beside it: no secret is referred to, and no certificate.
func TestInitMinimal(t *testing.T) {
	for name, args := range map[string][]string{"one datacenter": two[:4:4], "two": two[:8:8]} {
		t.Run(name, func(t *testing.T) {
			text, _, err := initialise(t, t.Context(), nil, append(slices.Clip(args), "--minimal", "--out", "-")...)
			if err != nil {
				t.Fatal(err)
			}
			f, err := fleet.Load("fleet.yaml", []byte(text))
			if err != nil || !f.Edge.PlainHTTP || f.Edge.Listen != ":80" || !f.Edge.Robot.Secret.IsZero() || !f.Harbor.Password.IsZero() || !f.Edge.Peers.Key.IsZero() {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// What init writes has no fault, begins with the line for editors, and is small.
func TestInitWritesAFileThatCheckTakes(t *testing.T) {
	for name, args := range map[string][]string{"one datacenter": two[:4:4], "two": two} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "fleet.yaml")
			said, _, err := initialise(t, t.Context(), nil, append(slices.Clip(args), "--out", out)...)
			if err != nil || !strings.Contains(said, "breakwater check "+out) || !strings.Contains(said, "--datacenter par1") {
				t.Fatalf("%v\n%s", err, said)
			}
			text, err := os.ReadFile(out)
			if err != nil || !strings.HasPrefix(string(text), "# yaml-language-server: $schema=") || !strings.Contains(string(text), "\nversion: 1\n") || bytes.Count(text, []byte("\n")) > 60 {
				t.Fatalf("%v\n%s", err, text)
			}
			f, err := fleet.Load(out, text)
			if err != nil {
				t.Fatal(err)
			}
			for _, note := range f.Notes {
				if note.Field != "harbor.token_certificates" { // which only their owner has
					t.Error(note)
				}
			}
			if len(args) > 4 && (len(f.Projects.Cache.Items) != 3 || f.Projects.Cache.Items["own"].Endpoint != "https://registry.example.net:5000" || f.Projects.MultiDC.Items["app"] == nil) {
				t.Errorf("%+v", f.Projects)
			}
		})
	}
}

func TestInitKeepsAFileThatIsThere(t *testing.T) {
	out := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(out, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--out", out}, two...)
	_, _, err := initialise(t, t.Context(), nil, args...)
	if text, _ := os.ReadFile(out); err == nil || !strings.Contains(err.Error(), "--force") || string(text) != "mine" {
		t.Fatalf("%v %q", err, text)
	}
	if _, _, err := initialise(t, t.Context(), nil, append(slices.Clip(args), "--force")...); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(out); !bytes.HasPrefix(text, []byte("# yaml")) {
		t.Errorf("%q", text)
	}
}

func TestInitSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"nothing, and no terminal":      {nil, []string{"--domain harbor.example.org and --datacenter par1=https://"}},
		"no datacenter":                 {two[:2], []string{"write --datacenter par1=https://"}},
		"a datacenter without a Harbor": {[]string{"--domain", "h.example.org", "--datacenter", "par1"}, []string{"write --datacenter par1=https://harbor.par1.example.org"}},
		"the same datacenter twice":     {append(two[:4:4], two[2:4]...), []string{"par1 stands there twice"}},
		"an edge of no datacenter":      {append(two[:4:4], "--edge", "rom1=https://edge.rom1.example.org"), []string{"datacenters.rom1.harbor: it is missing"}},
		"a cache of nothing":            {append(two[:4:4], "--cache", "mirror"), []string{"projects.cache.mirror.endpoint: it is missing"}},
		"the same cache twice":          {append(two[:4:4], "--cache", "dockerhub", "--cache", "dockerhub"), []string{"--cache dockerhub stands there twice"}},
		"a cache by its address":        {append(two[:4:4], "--cache", "https://quay.io"), []string{"write --cache dockerhub, --cache quay.io"}},
		"a cache without a name":        {append(two[:4:4], "--cache", ""), []string{"write --cache dockerhub"}},
		"the same project twice":        {append(two[:4:4], "--project", "app", "--project", "app"), []string{"--project app"}},
		"a project called defaults":     {append(two[:4:4], "--project", "defaults"), []string{"--project defaults"}},
		"YAML in a name":                {append(two[:4:4], "--project", "a: {}\n  b"), []string{"a character in a name that nobody sees"}},
		"YAML in a domain":              {[]string{"--domain", "h.example.org\nedge: { plain_http: true }", "--datacenter", "par1=https://a.example.org"}, []string{"domain:", "is no host name"}},
		"a path":                        {[]string{"--domain", "h.example.org", "--datacenter", "par1=https://harbor.par1.example.org/v2/"}, []string{"datacenters.par1.harbor: only scheme and host", "nothing was written"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "fleet.yaml")
			_, _, err := initialise(t, t.Context(), nil, append(slices.Clip(c.args), "--out", out)...)
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q: %v", want, err)
				}
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Errorf("a file was written: %v", err)
			}
		})
	}
}

// Where the file cannot be written, the sentence names it and says what to do.
func TestInitSaysWhereItCannotWrite(t *testing.T) {
	for _, out := range []string{filepath.Join(t.TempDir(), "none", "fleet.yaml"), t.TempDir(), ""} {
		_, _, err := initialise(t, t.Context(), nil, append(two[:4:4], "--force", "--out", out)...)
		if err == nil || !strings.Contains(err.Error(), "cannot be written") || !strings.Contains(err.Error(), "write another --out") {
			t.Errorf("--out %q: %v", out, err)
		}
	}
}

// On a terminal an answer that is wrong is told at once, and asked for again.
func TestInitAsks(t *testing.T) {
	answers := "https://harbor.example.org/\nharbor.example.org\nPar 1\npar1\nharbor.par1.example.org\nhttps://harbor.par1.example.org\n\npar1\n\ndockerhub, quay.io\n"
	text, asked, err := initialise(t, t.Context(), strings.NewReader(answers), "--out", "-")
	if err != nil {
		t.Fatalf("%v\n%s", err, asked)
	}
	f, err := fleet.Load("f", []byte(text))
	if err != nil || f.Domain != "harbor.example.org" || f.Datacenters["par1"].Harbor != "https://harbor.par1.example.org" || len(f.Projects.Cache.Items) != 2 {
		t.Errorf("%v\n%s", err, text)
	}
	for _, want := range []string{"write harbor.example.org", "a DNS label", "write https://harbor.par1.example.org", "it is there already"} {
		if !strings.Contains(asked, want) {
			t.Errorf("%q is not in\n%s", want, asked)
		}
	}
	for _, some := range []string{"", "harbor.example.org\n", "harbor.example.org\npar1\nhttps://harbor.par1.example.org\n\n"} { // the last one: all that is needed
		_, _, err := initialise(t, t.Context(), strings.NewReader(some), "--out", "-")
		if err == nil || strings.Contains(err.Error(), "no terminal") || !strings.Contains(err.Error(), "nothing was written; begin again, or give --domain and --datacenter") {
			t.Errorf("the end of the answers after %q: %v", some, err)
		}
	}
	answers = "harbor.example.org\npar1\nhttps://one.example.org\n\nmad1\nhttps://one.example.org\nhttps://two.example.org\n\n\n\n"
	if text, asked, err := initialise(t, t.Context(), strings.NewReader(answers), "--out", "-"); err != nil || !strings.Contains(asked, "is the Harbor of datacenter par1 too") || !strings.Contains(text, "https://two.example.org") {
		t.Errorf("a Harbor that is another datacenter's: %v\n%s", err, asked)
	}
}

// Ctrl-C ends the questions, though nobody has answered.
func TestInitEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, never := io.Pipe()
	defer never.Close()
	if _, _, err := initialise(t, ctx, silent, "--out", "-"); err == nil {
		t.Error("it went on without an answer")
	}
}
