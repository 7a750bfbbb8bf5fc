package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// namePlan says what is run of the name servers, how often and for how long.
type namePlan struct {
	Rounds  int
	Servers []string      // nil: all
	Work    []string      // nil: all
	Dir     string        // where configurations are kept; "": the system's temporary directory
	Binary  string        // breakwater's; "": built
	CoreDNS string        // its binary; "": `coredns` of PATH, else built
	Time    time.Duration // of a round of load; whole seconds
	Away    time.Duration // how long a site is away, and back, in a round of failover at least
	JSON    bool
}

func gslbCommand() *cobra.Command {
	p := namePlan{Rounds: 5, Time: 4 * time.Second, Away: 7 * time.Second}
	cmd := &cobra.Command{
		Use:   "gslb",
		Short: "Name servers with the same geography, under load and when a datacenter dies",
		Example: `  go run ./bench gslb --rounds 3
  go run ./bench gslb --servers breakwater,gdnsd --work full`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Rounds < 1 || p.Time < time.Second {
				return fmt.Errorf("--rounds %d, --time %s: want 1 and 1s or more", p.Rounds, p.Time)
			}
			return runNames(cmd.Context(), p, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&p.Rounds, "rounds", p.Rounds, "how often each work is done by each name server")
	flags.StringSliceVar(&p.Servers, "servers", nil, "which name servers: breakwater, gdnsd, knot, pdns, coredns, echo; default all")
	flags.StringSliceVar(&p.Work, "work", nil, "which work: full, paced, 70%, signed, paced signed, failover; default all")
	flags.DurationVar(&p.Time, "time", p.Time, "of a round of load")
	flags.StringVar(&p.Dir, "dir", "", "where configurations are kept; default the system's temporary directory")
	flags.StringVar(&p.Binary, "breakwater", "", "this repository's binary; default it is built")
	flags.StringVar(&p.CoreDNS, "coredns", "", "CoreDNS's binary; default coredns on PATH, else it is built")
	flags.BoolVar(&p.JSON, "json", false, "print the result as one JSON object")
	return cmd
}

// nameWork is one kind of load.
type nameWork struct {
	name   string
	rate   int     // queries a second; 0: as many as are answered
	part   float64 // of what the slowest that knows clients answered in full; 0: all
	signed bool    // each query wants the proof (DO), of a zone that is signed
}

func nameWorks() []nameWork {
	return []nameWork{{name: "full"}, {name: "paced", rate: 20_000}, {name: "70%", part: 0.7}, {name: "signed", signed: true}, {name: "paced signed", rate: 20_000, signed: true}}
}

const failover = "failover"

func (p *namePlan) check() error {
	for _, name := range p.Servers {
		if !slices.ContainsFunc(nameKinds(), func(k nameKind) bool { return k.name == name }) {
			return fmt.Errorf("--servers: there is no name server %q", name)
		}
	}
	for _, name := range p.Work {
		if name != failover && !slices.ContainsFunc(nameWorks(), func(w nameWork) bool { return w.name == name }) {
			return fmt.Errorf("--work: there is no work %q", name)
		}
	}
	if p.works("70%") && !p.works("full") {
		return errors.New("--work 70% is of what is answered in full: name full too")
	}
	return nil
}

func (p *namePlan) works(name string) bool { return len(p.Work) == 0 || slices.Contains(p.Work, name) }

// nameEnvironment is what all name servers share while the bench runs.
type nameEnvironment struct {
	plan      namePlan
	dir       string
	health    *siteHealth
	networks  []network
	questions []question
	signed    []question // the same, each of which wants the proof
	dnsperf   string
	binaries  map[string]string
	absent    []string
	progress  io.Writer
}

func (e *nameEnvironment) say(format string, args ...any) {
	fmt.Fprintf(e.progress, format+"\n", args...)
}

// runNames runs all work by all name servers and writes the result.
func runNames(ctx context.Context, p namePlan, out, progress io.Writer) error {
	if err := p.check(); err != nil {
		return err
	}
	begun := time.Now()
	all, own := busy()
	r, err := measureNames(ctx, p, progress)
	if err != nil {
		return err
	}
	r.Machine = append(r.Machine, head("others", strangers(begun, all, own)))
	if p.JSON {
		return writeJSON(out, r)
	}
	r.writeText(out)
	return nil
}

func measureNames(ctx context.Context, p namePlan, progress io.Writer) (*nameResult, error) {
	e := &nameEnvironment{plan: p, binaries: map[string]string{}, networks: geography(), progress: progress}
	var err error
	if e.dir, err = os.MkdirTemp(p.Dir, "breakwater-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(e.dir) //nolint:errcheck // a temporary directory
	for of, asked := range map[bool]*[]question{false: &e.questions, true: &e.signed} {
		if *asked, err = questions(of); err != nil {
			return nil, err
		}
	}
	if e.health, err = newSiteHealth(); err != nil {
		return nil, err
	}
	defer e.health.close()
	if err := e.find(ctx); err != nil {
		return nil, err
	}
	r := &nameResult{Machine: e.describe()}
	for _, signed := range []bool{false, true} {
		if err := e.runLoad(ctx, r, signed); err != nil {
			return nil, err
		}
	}
	if p.works(failover) {
		if r.Failover, err = e.runFailover(ctx); err != nil {
			return nil, err
		}
	}
	r.Absent = e.absent
	return r, nil
}

func (e *nameEnvironment) wants(server string) bool {
	return len(e.plan.Servers) == 0 || slices.Contains(e.plan.Servers, server)
}

// find builds this server and looks for the others: who is not found is left out,
// and the result says so.
func (e *nameEnvironment) find(ctx context.Context) (err error) {
	if e.dnsperf, err = exec.LookPath("dnsperf"); err != nil {
		e.dnsperf = ""
		e.absent = append(e.absent, "There is no load: dnsperf is missing; apt-get install -y --no-install-recommends dnsperf")
	}
	for _, k := range slices.Concat(nameKinds(), signedKinds(), failoverKinds()) {
		// pdns's binary serves two kinds, and a kind without load goes with its program
		if _, found := e.binaries[k.name]; found || !e.wants(strings.Fields(k.name)[0]) {
			continue
		}
		path, err := e.findName(ctx, k)
		if err != nil {
			if k.program == "" {
				return err
			}
			e.absent = append(e.absent, fmt.Sprintf("%s is left out: %v.", k.name, err))
			continue
		}
		e.binaries[k.name] = path
	}
	return nil
}

func (e *nameEnvironment) findName(ctx context.Context, k nameKind) (string, error) {
	switch {
	case k.name == "echo":
		return os.Executable()
	case k.files == "breakwater":
		return e.findBreakwater(ctx)
	case k.name == "coredns":
		return e.findCoreDNS(ctx)
	}
	for _, path := range []string{k.program, "/usr/sbin/" + k.program} { // where Debian keeps it is not on everybody's PATH
		if path, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing; apt-get install -y --no-install-recommends %s", k.program, k.apt)
}

func (e *nameEnvironment) findBreakwater(ctx context.Context) (string, error) {
	if e.plan.Binary != "" {
		return filepath.Abs(e.plan.Binary)
	}
	e.say("build breakwater")
	path, err := buildEdge(ctx, e.dir)
	e.plan.Binary = path
	return path, err
}

const corednsModule = "github.com/coredns/coredns@v1.15.0"

func (e *nameEnvironment) findCoreDNS(ctx context.Context) (string, error) {
	if e.plan.CoreDNS != "" {
		return exec.LookPath(e.plan.CoreDNS)
	}
	if path, err := exec.LookPath("coredns"); err == nil {
		return path, nil
	}
	e.say("build CoreDNS, which is not on PATH: some minutes")
	cmd := exec.CommandContext(ctx, "go", "install", corednsModule)
	cmd.Env, cmd.Dir = append(os.Environ(), "GOBIN="+e.dir, "GOFLAGS="), e.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("go install %s: %w: %s", corednsModule, err, lines[len(lines)-1])
	}
	return filepath.Join(e.dir, "coredns"), nil
}

// describe is the head of the result: which machine, which versions, when.
func (e *nameEnvironment) describe() []string {
	lines := []string{head("machine", machine()), head("go", runtime.Version())}
	for _, k := range nameKinds() {
		if binary, found := e.binaries[k.name]; found {
			lines = append(lines, head(k.name, k.version(binary)))
		}
	}
	if e.dnsperf != "" {
		lines = append(lines, head("dnsperf", versionWord(e.dnsperf, "Version ", "-h")+", a message a query: each with a client subnet of its own"))
	}
	return append(lines,
		head("date", time.Now().UTC().Format("2006-01-02 15:04 UTC")),
		head("work", fmt.Sprintf("%d rounds of %s, order shuffled; %d networks for %d client subnets; A 80 %%, AAAA 10 %%, NODATA 5 %%, NXDOMAIN 5 %%",
			e.plan.Rounds, e.plan.Time, len(e.networks), len(e.questions)/questionsEach)))
}

// startNames starts those of the kinds that there are. A peer that does not start,
// as for a part that is packaged by itself, is left out too.
func (e *nameEnvironment) startNames(ctx context.Context, kinds []nameKind) (servers []*nameServer, stop func(), err error) {
	stop = func() {
		for _, s := range servers {
			s.process.stop()
		}
	}
	for i, k := range kinds {
		if _, found := e.binaries[k.name]; !found {
			continue
		}
		s, err := e.newNameServer(ctx, k, i+1)
		switch {
		case err != nil && k.program != "" && ctx.Err() == nil:
			e.absent = append(e.absent, fmt.Sprintf("%s is left out: %v. Its packages: %s.", k.name, err, cmp.Or(k.apt, "none")))
			continue
		case err != nil:
			return servers, stop, err
		}
		servers = append(servers, s)
	}
	return servers, stop, nil
}

// runLoad verifies once that each server gives the right answers, then has them
// work in rounds, in another order each round: that of signed zones, or all else.
func (e *nameEnvironment) runLoad(ctx context.Context, r *nameResult, signed bool) error {
	works := slices.DeleteFunc(nameWorks(), func(w nameWork) bool { return w.signed != signed || !e.plan.works(w.name) })
	if len(works) == 0 || e.dnsperf == "" {
		return nil
	}
	kinds, asked := nameKinds(), e.questions
	if signed {
		kinds, asked = signedKinds(), e.signed
	}
	servers, stop, err := e.startNames(ctx, kinds)
	defer stop()
	if err != nil {
		return err
	}
	var faults []error
	for _, s := range servers {
		e.say("verify %d answers of %s", len(asked), s.name)
		faults = append(faults, s.verify(asked))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if err := e.writeLoad(asked); err != nil {
		return err
	}
	for _, w := range works {
		if w.part > 0 {
			w.rate = int(w.part * r.slowest())
		}
		samples := map[string][]nameSample{}
		for round := range e.plan.Rounds {
			rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
			for _, s := range servers {
				o, err := e.measureName(ctx, s, w, asked)
				if err != nil {
					return fmt.Errorf("%s by %s: %w", w.name, s.name, err)
				}
				e.say("%-6s round %d of %d  %-12s %7.0f q/s  %5.1f us  %d lost, %d wrong", w.name, round+1, e.plan.Rounds, s.name, o.rate, o.cpu*1e6, o.lost, o.wrong)
				samples[s.name] = append(samples[s.name], o)
			}
		}
		r.add(w, samples)
	}
	return nil
}
