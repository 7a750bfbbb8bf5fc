package main

import (
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

// TestOutage: docker and containerd, which ask for a token before every pull, go on
// while Harbors are down: pushes go to a peer's, and what is held is pulled when
// none is left.
func TestOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	edge, writer := f.edge(0), f.Robots[1]
	run := dockerDaemon(t, t.TempDir(), trial.Client(t, "dockerd"))
	ctr := containerd(t, t.TempDir())
	crane, home := trial.Client(t, "crane"), t.TempDir()
	public, private, pushed := edge+"/cache-dockerhub/library/hello:latest", edge+"/multi-dc-demo/app:v1", edge+"/multi-dc-demo/outage:v1"
	dockerPulls := func(t *testing.T, images ...string) {
		t.Helper()
		for _, image := range images {
			output(t, run("pull", image))
			output(t, run("rmi", image))
		}
	}
	ctrPulls := func(t *testing.T, images ...string) {
		t.Helper()
		for _, image := range images {
			args := []string{"images", "pull", "--plain-http", "--snapshotter", "native"}
			if strings.Contains(image, "/multi-dc-") {
				args = append(args, "--user", writer.Name+":"+writer.Secret)
			}
			output(t, ctr(append(args, image)...))
			output(t, ctr("images", "rm", "--sync", image))
		}
	}
	output(t, run("login", edge, "-u", writer.Name, "-p", writer.Secret))
	dockerPulls(t, public, private)
	ctrPulls(t, public, private)
	for _, c := range []struct{ name, fault string }{{"the local Harbor is down", `[{"name":"down"}]`}, {"its database is down", `[{"name":"db-down"}]`}} {
		t.Run(c.name, func(t *testing.T) {
			fault(t, f.Datacenters[0].Faults, c.fault)
			dockerPulls(t, public, private)
			ctrPulls(t, public, private)
			output(t, run("pull", private))
			output(t, run("tag", private, pushed))
			output(t, run("push", pushed))
			dockerPulls(t, pushed)
			output(t, clientCommand(t, home, crane, "auth", "login", "--insecure", f.edge(1), "-u", writer.Name, "-p", writer.Secret))
			output(t, clientCommand(t, home, crane, "digest", "--insecure", f.edge(1)+"/multi-dc-demo/outage:v1"))
		})
	}
	dockerPulls(t, pushed)
	for _, c := range []struct{ name, fault string }{{"all Harbors are down", `[{"name":"down"}]`}, {"all databases are down", `[{"name":"db-down"}]`}} {
		t.Run(c.name, func(t *testing.T) {
			for _, d := range f.Datacenters {
				fault(t, d.Faults, c.fault)
			}
			dockerPulls(t, public, private, pushed)
			ctrPulls(t, public, private)
			fails(t, ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--user", writer.Name+":wrong", private))
			fails(t, ctr("images", "pull", "--plain-http", "--snapshotter", "native", private))
			fails(t, run("pull", edge+"/multi-dc-demo/copy:v1"))
		})
	}
	dockerPulls(t, public, private)
}
