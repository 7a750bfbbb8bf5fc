package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/ports"
)

const (
	spreadProject = "multi-dc-spread" // whose tags the edges order
	aloneProject  = "alone"           // which edges only pass on
)

var spreadSites = []string{"par1", "mad1", "drp1"}

// spreadFleet is three datacenters while they run.
type spreadFleet struct {
	harbors []*lab.Harbor
	relays  []*lab.Relay
	edges   []string // URLs
	started []*process
}

func (f *spreadFleet) close() {
	for _, p := range f.started {
		p.stop()
	}
	for _, r := range f.relays {
		r.Close() //nolint:errcheck // it is gone either way
	}
	for _, h := range f.harbors {
		h.Close() //nolint:errcheck // it is gone either way
	}
}

func (f *spreadFleet) harborURLs() (all []string) {
	for _, h := range f.harbors {
		all = append(all, h.URL())
	}
	return all
}

// spreadWorkers is how many executions of replications a Harbor runs at once: each has files
// open, and those that move tags beside the edges cause more and more of each other.
const spreadWorkers = 400

// startSpread starts Harbors that replicate to each other, and an edge before each. What it
// returns is to be closed also after an error.
func startSpread(ctx context.Context, e *environment, p spreadPlan, binary string, run int, delay time.Duration) (*spreadFleet, error) {
	f := &spreadFleet{}
	key, err := readKey(filepath.Join(e.shared(), "token.key"))
	if err != nil {
		return f, err
	}
	for i := range spreadSites {
		h, err := lab.StartHarbor(lab.HarborConfig{Key: key, ReplicationDelay: time.Nanosecond, Workers: spreadWorkers, Replicating: lab.Busy(uint64(run*len(spreadSites)+i), p.Least/2, p.Most/2)})
		if err != nil {
			return f, err
		}
		f.harbors = append(f.harbors, h)
		h.CreateRobot("*", robotName, robotSecret, "pull", "push", "tag:delete", "artifact:delete")
		h.CreateRobot("*", clientName, robotSecret, "pull", "push")
		h.CreateRobot("*", "sync", robotSecret, "pull", "push")
		h.CreateProject(spreadProject, false)
		h.CreateProject(aloneProject, false)
	}
	for i := range f.harbors {
		if err := f.replicate(ctx, i, delay); err != nil {
			return f, fmt.Errorf("have the Harbors replicate: %w", err)
		}
	}
	return f, f.startEdges(ctx, e, binary, run, delay)
}

// relay starts a link to host:port of another datacenter, and returns where it begins.
func (f *spreadFleet) relay(target string, delay time.Duration) (address string, err error) {
	r, err := lab.StartRelay(nil, target)
	if err != nil {
		return "", err
	}
	f.relays = append(f.relays, r)
	r.Set(lab.Link{Delay: delay})
	return r.Address(), nil
}

// replicate makes the policies of one Harbor: by events, with override, as in fleets
// whose tags no edges own.
func (f *spreadFleet) replicate(ctx context.Context, from int, delay time.Duration) error {
	for to, h := range f.harbors {
		if to == from {
			continue
		}
		address, err := f.relay(strings.TrimPrefix(h.URL(), "http://"), delay)
		if err != nil {
			return err
		}
		location, err := f.create(ctx, from, "/api/v2.0/registries", fmt.Sprintf(`{"name":%q,"type":"harbor","url":"http://%s","credential":{"type":"basic","access_key":"robot$sync","access_secret":%q}}`,
			spreadSites[to], address, robotSecret))
		if err != nil {
			return err
		}
		id := location[strings.LastIndexByte(location, '/')+1:]
		for _, project := range []string{spreadProject, aloneProject} {
			if _, err := f.create(ctx, from, "/api/v2.0/replication/policies", fmt.Sprintf(`{"name":"%[1]s-to-%[2]s","dest_registry":{"id":%[3]s},"trigger":{"type":"event_based"},"dest_namespace":%[1]q,
				"dest_namespace_replace_count":1,"filters":[{"type":"name","value":"%[1]s/**"},{"type":"tag","value":"**"}],"enabled":true,"override":true}`, project, spreadSites[to], id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// create makes something in a Harbor, and returns where it is.
func (f *spreadFleet) create(ctx context.Context, i int, path, body string) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.harbors[i].URL()+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(f.harbors[i].Admin())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

// spreadPlace is a datacenter as one edge knows it.
type spreadPlace struct{ Name, Harbor, Edge string }

// startEdges starts the edges, each with links to the others.
func (f *spreadFleet) startEdges(ctx context.Context, e *environment, binary string, run int, delay time.Duration) error {
	free, err := ports.Free("127.0.0.1", 3*len(spreadSites))
	if err != nil {
		return err
	}
	for i, name := range spreadSites {
		s := settings{Dir: filepath.Join(e.dir, fmt.Sprintf("%s-%d", name, run)), Shared: e.shared(), Listen: free[3*i], Metrics: free[3*i+1], Admin: free[3*i+2], Robot: robotName}
		for j, other := range spreadSites {
			at := free[3*j]
			if j != i {
				if at, err = f.relay(at, delay); err != nil {
					return err
				}
			}
			s.Datacenters = append(s.Datacenters, spreadPlace{other, f.harbors[j].URL(), "http://" + at})
		}
		if err := os.Mkdir(s.Dir, 0o755); err != nil {
			return err
		}
		if err := s.write("spread.yaml"); err != nil {
			return err
		}
		p, err := startProcess(filepath.Join(s.Dir, "log"), binary, "edge", "--config", filepath.Join(s.Dir, "spread.yaml"), "--datacenter", name, "--drain", "0s")
		if err != nil {
			return err
		}
		f.started, f.edges = append(f.started, p), append(f.edges, "http://"+s.Listen)
		if err := awaitAnswer(ctx, p, "http://"+s.Listen+"/healthz"); err != nil {
			return fmt.Errorf("start the edge of %s: %w; its log ends: %s", name, err, lastLines(filepath.Join(s.Dir, "log")))
		}
	}
	return nil
}
