package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// head is one line of the head of a result.
func head(name, value string) string { return fmt.Sprintf("%-14s%s", name, value) }

// describe is the head of every result: which machine, which versions, when.
func describe(e *environment) []string {
	lines := []string{head("machine", machine()), head("go", runtime.Version())}
	for _, k := range kinds() {
		if binary, found := e.binaries[k.name]; found {
			lines = append(lines, head(k.name, k.version(binary)))
		}
	}
	p := e.plan
	return append(lines,
		head("date", time.Now().UTC().Format("2006-01-02 15:04 UTC")),
		head("work", fmt.Sprintf("%d rounds, order shuffled; warm %d MiB, cold %d MiB, slow %d MiB at %d MiB/s; manifests for %s a round",
			p.Rounds, p.Warm/mib, p.Cold/mib, p.Slow/mib, p.Rate/mib, p.Time)),
		head("transport", "HTTP/1.1 for all; TLS is between client and peer, peers reach the origin by plain HTTP"))
}

// revision is the commit that a Go binary was built from, "" where it does not say.
func revision(binary string) string {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return ""
	}
	commit, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = ", commit " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " and changes"
		}
	}
	return commit + modified
}

// busy is the processor time that all programs of the machine have used (proc(5),
// /proc/stat: user, nice, system), and this one's share of it, with all that it
// started and that have ended.
func busy() (all, own time.Duration) {
	text, _ := os.ReadFile("/proc/stat")
	var user, nice, system int64
	fmt.Sscanf(string(text), "cpu %d %d %d", &user, &nice, &system) //nolint:errcheck // 0 where there is none
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var used unix.Rusage
		if unix.Getrusage(who, &used) == nil {
			own += time.Duration(used.Utime.Nano() + used.Stime.Nano())
		}
	}
	return time.Duration(user+nice+system) * time.Second / hertz, own
}

// strangers says how much of the machine others used since begun, when busy
// gave what is handed in.
func strangers(begun time.Time, all, own time.Duration) string {
	allNow, ownNow := busy()
	share := max(0, (allNow-all)-(ownNow-own)).Seconds() / time.Since(begun).Seconds() / float64(runtime.NumCPU())
	return fmt.Sprintf("%.1f %% of the processors was used by other programs and the kernel's own threads meanwhile", share*100)
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
