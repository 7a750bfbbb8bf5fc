package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// code is a package with the mutants of those of its files that were asked for.
type code struct {
	path, dir string
	tested    bool // it has tests of its own
	mutants   []*mutant
}

// load finds packages and their mutants.
func load(ctx context.Context, targets []string) ([]*code, error) {
	if len(targets) == 0 {
		targets = defaults
	}
	files, args := map[string]bool{}, []string{"list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Module"}
	for _, target := range targets {
		if strings.HasSuffix(target, ".go") {
			path, err := filepath.Abs(target)
			if err != nil {
				return nil, err
			}
			files[path] = true
			target = filepath.Dir(path)
		}
		args = append(args, target)
	}
	listed, err := output(exec.CommandContext(ctx, "go", args...))
	if err != nil {
		return nil, err
	}
	var all []*code
	for d := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p struct {
			ImportPath, Dir                    string
			GoFiles, TestGoFiles, XTestGoFiles []string
			Module                             struct{ Path, Dir string }
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		c := &code{path: "./" + strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, p.Module.Path), "/"), dir: p.Dir, tested: len(p.TestGoFiles)+len(p.XTestGoFiles) > 0}
		some := slices.ContainsFunc(p.GoFiles, func(name string) bool { return files[filepath.Join(p.Dir, name)] })
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			if some && !files[path] {
				continue
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			found, err := mutants(path, source)
			if err != nil {
				return nil, err
			}
			for _, m := range found {
				if m.File, err = filepath.Rel(p.Module.Dir, path); err != nil {
					return nil, err
				}
			}
			c.mutants = append(c.mutants, found...)
		}
		all = append(all, c)
	}
}

// output is what a command prints; its error is what it complains of.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, &complaint)
	}
	return out.Bytes(), nil
}

// fate is what became of a mutant.
type fate int

const (
	stillborn fate = iota // it does not compile, and is none
	killed
	timedOut // killed by the time that it took
	survived
)

// suite is the tests of one package, and how long they may take.
type suite struct {
	path, dir string
	limit     time.Duration
}

// judge tries mutants.
type judge struct {
	dir    string
	plan   plan
	suites map[string]*suite
}

// try has a mutant compiled and judged by its package's own tests, then by the others.
func (j *judge) try(ctx context.Context, c *code, m *mutant) (fate, error) {
	file, overlay := filepath.Join(j.dir, "mutant.go"), filepath.Join(j.dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{m.path: file}})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(os.WriteFile(file, m.changed(), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return 0, err
	}
	judges := j.plan.With
	if c.tested {
		judges = append([]string{c.path}, judges...)
	}
	for _, path := range judges {
		s, err := j.suite(ctx, path)
		if err != nil {
			return 0, err
		}
		if j.build(ctx, s, overlay) != nil { // it does without the mutant
			return stillborn, nil
		}
		if fate, err := j.test(ctx, s, nil); fate != survived || err != nil {
			return fate, err
		}
	}
	if len(judges) == 0 {
		if _, err := output(exec.CommandContext(ctx, "go", "build", "-overlay", overlay, c.path)); err != nil {
			return stillborn, nil
		}
	}
	return survived, nil
}

// suite is a package's tests, which must pass as they are: how long that takes says how
// long they may take.
func (j *judge) suite(ctx context.Context, path string) (*suite, error) {
	if s := j.suites[path]; s != nil {
		return s, nil
	}
	dir, err := output(exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", path))
	if err != nil {
		return nil, err
	}
	s := &suite{path: path, dir: strings.TrimSpace(string(dir)), limit: j.plan.Limit}
	if err := j.build(ctx, s, ""); err != nil {
		return nil, err
	}
	begun := time.Now()
	var out bytes.Buffer
	switch fate, err := j.test(ctx, s, &out); {
	case err != nil:
		return nil, err
	case fate == timedOut:
		return nil, fmt.Errorf("the tests of %s take more than %v without a mutant: give a longer --limit", path, j.plan.Limit)
	case fate == killed:
		return nil, fmt.Errorf("the tests of %s fail without a mutant: %s", path, bytes.Join(failed.FindAll(out.Bytes(), -1), []byte("; ")))
	}
	s.limit = min(s.limit, 3*time.Since(begun)+10*time.Second)
	j.suites[path] = s
	return s, nil
}

// failed is what a test that fails says of itself, and of where.
var failed = regexp.MustCompile(`(?m)^\s*(--- FAIL: \S+|panic: .*|\w+_test\.go:\d+: .*)`)

func (j *judge) binary() string { return filepath.Join(j.dir, "tests") }

// build compiles a package's tests.
func (j *judge) build(ctx context.Context, s *suite, overlay string) error {
	_, err := output(exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-overlay", overlay, "-o", j.binary(), s.path))
	return err
}

// memory is the most that a mutant's tests may take: one that never stops growing would
// take all that the machine has.
const memory = 4 << 30

// test runs the tests that were compiled last, in a group of processes and a temporary
// directory of their own, of which nothing is left. out gets what they print; nil: nobody.
func (j *judge) test(ctx context.Context, s *suite, out io.Writer) (fate, error) {
	tmp := filepath.Join(j.dir, "tmp")
	if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chmod(j.dir, 0o755), os.Chmod(tmp, 0o777|os.ModeSticky)); err != nil { // as /tmp: some tests are other users
		return 0, err
	}
	defer os.RemoveAll(tmp)
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	cmd := exec.CommandContext(limited, j.binary(), "-test.failfast", fmt.Sprintf("-test.short=%t", j.plan.Short))
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.dir, out, out, time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: memory, Max: memory}, nil) //nolint:errcheck // it has ended already
	err := cmd.Wait()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // nothing is left behind
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case limited.Err() != nil:
		return timedOut, nil
	case err != nil:
		return killed, nil
	}
	return survived, nil
}
