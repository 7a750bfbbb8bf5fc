package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measure.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess runs a command with its output in a file.
func startProcess(log string, command ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // distribution looks for a collector else, and there is none
	return watch(cmd)
}

func watch(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait() //nolint:errcheck // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// stop ends the process: gently, and after ten seconds not so.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended already
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.cmd.Process.Kill() //nolint:errcheck // it has ended already
		<-p.done
	}
}

// tree is the process and all below it.
func (p *process) tree() []int {
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// hertz is what Linux counts processor time in towards programs, on every machine.
const hertz = 100

// cpu is the processor time of the process and all below it, those that have
// ended among them (proc(5), /proc/pid/stat).
func (p *process) cpu() (time.Duration, error) {
	var ticks int64
	for _, pid := range p.tree() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 15 {
			return 0, fmt.Errorf("read processor time: /proc/%d/stat is short", pid)
		}
		for _, field := range fields[11:15] { // utime, stime, and those of children waited for
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read processor time: %w", err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / hertz, nil
}

// resetPeak makes the peak what is resident now.
func (p *process) resetPeak() error {
	for _, pid := range p.tree() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reset peak memory: %w", err)
		}
	}
	return nil
}

// memory sums a line of /proc/pid/status, such as VmHWM or VmRSS, in bytes over
// the process and all below it.
func (p *process) memory(line string) (int64, error) {
	var sum int64
	for _, pid := range p.tree() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("read memory: %w", err)
		}
		_, rest, _ := strings.Cut(string(text), "\n"+line+":")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return 0, fmt.Errorf("read memory: /proc/%d/status has no %s", pid, line)
		}
		sum += kib << 10
	}
	return sum, nil
}

// lastLines is the end of a log, for an error.
func lastLines(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 1000 {
		f.Seek(-1000, io.SeekEnd) //nolint:errcheck // then the beginning
	}
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text))
}
