package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// nameSample is one round of one name server.
type nameSample struct {
	observed
	rate     float64 // responses a second
	cpu      float64 // seconds of the server's processor time for a query
	resident int64   // bytes, behind the load
}

const (
	loadClients = 16  // sockets that queries come from
	loadWindow  = 128 // queries that wait for their response at most
)

func (e *nameEnvironment) loadFile() string { return filepath.Join(e.dir, "queries") }

// writeLoad writes the questions as dnsperf reads whole messages: each behind its
// length. As lines of text they could not have a client subnet each.
func (e *nameEnvironment) writeLoad(asked []question) error {
	var b []byte
	for _, q := range asked {
		b = binary.BigEndian.AppendUint16(b, uint16(len(q.wire)))
		b = append(b, q.wire...)
	}
	return os.WriteFile(e.loadFile(), b, 0o644)
}

// measureName loads one server for a round, while one client beside checks answers.
func (e *nameEnvironment) measureName(ctx context.Context, s *nameServer, w nameWork, asked []question) (o nameSample, err error) {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return o, err
	}
	args := []string{"-s", host, "-p", port, "-d", e.loadFile(), "-B", "-l", strconv.Itoa(int(e.plan.Time.Seconds())),
		"-c", strconv.Itoa(loadClients), "-T", "2", "-q", strconv.Itoa(loadWindow), "-t", "1", "-W"}
	if w.rate > 0 {
		args = append(args, "-Q", strconv.Itoa(w.rate))
	}
	before, err := s.process.cpu()
	if err != nil {
		return o, err
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan error, 1)
	go func() {
		var fault error
		o.observed, fault = s.observe(watched, asked)
		seen <- fault
	}()
	out, err := exec.CommandContext(ctx, e.dnsperf, args...).CombinedOutput()
	stop()
	if fault := <-seen; fault != nil || err != nil {
		return o, fmt.Errorf("dnsperf: %w: %s", errors.Join(err, fault), out)
	}
	after, err := s.process.cpu()
	if err != nil {
		return o, err
	}
	report, err := readDnsperf(string(out))
	if err != nil {
		return o, err
	}
	o.rate = report.rate
	o.lost += report.sent - report.completed
	o.wrong += report.wrong(asked)
	o.cpu = (after - before).Seconds() / float64(report.completed+len(o.latency))
	o.resident, err = s.process.memory("VmRSS")
	return o, err
}

// loadReport is what dnsperf says in the end.
type loadReport struct {
	sent, completed, noError, noName int
	rate                             float64
}

var responseCode = regexp.MustCompile(`(\w+) (\d+) \(`)

func readDnsperf(out string) (r loadReport, err error) {
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Queries sent":
			fmt.Sscan(value, &r.sent) //nolint:errcheck // 0 is a fault below
		case "Queries completed":
			fmt.Sscan(value, &r.completed) //nolint:errcheck // 0 is a fault below
		case "Queries per second":
			fmt.Sscan(value, &r.rate) //nolint:errcheck // 0 is a fault below
		case "Response codes":
			for _, code := range responseCode.FindAllStringSubmatch(value, -1) {
				n, _ := strconv.Atoi(code[2])
				switch code[1] {
				case "NOERROR":
					r.noError = n
				case "NXDOMAIN":
					r.noName = n
				}
			}
		}
	}
	if r.completed == 0 || r.rate == 0 {
		return r, fmt.Errorf("dnsperf got no answers: %s", out)
	}
	return r, nil
}

// wrong is how many responses had a code that cannot be, and by how many there were
// more or less of those for names that are not there than such questions, beyond
// what the beginning and the end of the round make.
func (r *loadReport) wrong(asked []question) int {
	none := 0
	for _, q := range asked {
		if q.rcode == dns.RcodeNameError {
			none++
		}
	}
	want := float64(r.completed) * float64(none) / float64(len(asked))
	odd := math.Abs(float64(r.noName)-want) - 0.02*want - loadWindow - float64(len(asked))/20
	return r.completed - r.noError - r.noName + int(max(0, odd))
}
