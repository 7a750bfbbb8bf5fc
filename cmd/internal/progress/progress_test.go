package progress_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/progress"
	"example.org/breakwater/internal/trial"
)

// asWork is the variable by which this test's own file is work that shows how far it is.
const asWork = "BREAKWATER_TEST_AS_WORK"

func TestMain(m *testing.M) {
	if os.Getenv(asWork) == "" {
		os.Exit(m.Run())
	}
	bar := progress.Show(os.Stderr)
	bar.To(0, 4, "begins")
	bar.Println(os.Stderr, "a line")
	bar.To(2, 4, "half\x1b[31m "+strings.Repeat("é", 200))
	bar.Hide()
	bar.Println(os.Stderr, "a question")
	bar.To(0, 0, "nobody knows")
	bar.End()
	bar.To(4, 4, "too late")
	bar.Println(os.Stderr, "the end")
	os.Exit(0)
}

func work(environment ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asWork+"=1", "TERM=xterm", "NO_COLOR=")
	cmd.Env = append(cmd.Env, environment...)
	return cmd
}

// Nothing that is drawn is wider than the terminal, moves the cursor, or stays.
func TestATerminalShowsABarThatFits(t *testing.T) {
	for columns, want := range map[uint16]string{
		80: "[============            ] 2 of 4, 0s  half [31m éé", 60: "[============            ] 2 of 4, 0s  half [31m ééé", 40: "2 of 4, 0s  half [31m ééé", 8: "2 of 4,",
	} {
		seen := trial.OnTerminal(t, columns, work())
		if !strings.Contains(seen, "\r\x1b[K"+want) {
			t.Errorf("%d columns: no %q: %q", columns, want, seen)
		}
		for _, drawn := range strings.Split(seen, "\r\x1b[K") {
			line, _, _ := strings.Cut(drawn, "\r\n")
			if n := len([]rune(line)); n >= int(columns) && !strings.HasPrefix(line, "a ") {
				t.Errorf("%d columns: %d in %q", columns, n, line)
			}
		}
		if strings.Contains(seen, "\x1b[31m") || strings.Contains(seen, "late") || !strings.HasSuffix(seen, "\r\x1b[Kthe end\r\n") && !strings.HasSuffix(seen, "\r\x1b[K\r\x1b[Kthe end\r\n") {
			t.Errorf("%d columns: %q", columns, seen)
		}
	}
}

func TestElsewhereThereAreLinesAlone(t *testing.T) {
	const lines = "a line\na question\nthe end\n"
	for _, environment := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if seen := trial.OnTerminal(t, 80, work(environment)); seen != strings.ReplaceAll(lines, "\n", "\r\n") {
			t.Errorf("%s: %q", environment, seen)
		}
	}
	cmd := work()
	var seen bytes.Buffer
	cmd.Stderr = &seen
	if err := cmd.Run(); err != nil || seen.String() != lines {
		t.Errorf("%v: %q", err, &seen)
	}
}
