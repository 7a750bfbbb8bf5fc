package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// describe is the head of every result: which machine, which versions, when.
func describe(e *environment) []string {
	lines := []string{
		"machine    " + machine(),
		"go         " + runtime.Version(),
	}
	for _, k := range kinds() {
		if binary, found := e.binaries[k.name]; found {
			lines = append(lines, fmt.Sprintf("%-12s %s", k.name, k.version(binary)))
		}
	}
	for i, line := range lines {
		name, rest, _ := strings.Cut(line, " ")
		lines[i] = fmt.Sprintf("%-14s%s", name, strings.TrimSpace(rest))
	}
	p := e.plan
	return append(lines,
		fmt.Sprintf("%-14s%s", "date", time.Now().UTC().Format("2006-01-02 15:04 UTC")),
		fmt.Sprintf("%-14s%d rounds, order shuffled; warm %d MiB, cold %d MiB, slow %d MiB at %d MiB/s; manifests for %s a round", "work",
			p.Rounds, p.Warm/mib, p.Cold/mib, p.Slow/mib, p.Rate/mib, p.Time),
		fmt.Sprintf("%-14sHTTP/1.1 for all; TLS is between client and peer, peers reach the origin by plain HTTP", "transport"))
}

// machine names processor, cores, memory and kernel, as Linux does.
func machine() string {
	model := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	var kib int64
	fmt.Sscan(memory, &kib) //nolint:errcheck // 0 says that it is not known
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, %.0f GiB, %s %s %s", model, runtime.NumCPU(), float64(kib)/(1<<20), runtime.GOOS, strings.TrimSpace(string(kernel)), runtime.GOARCH)
}

// field is the value of the first "name: value" line of a file, "unknown" where
// there is none.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
