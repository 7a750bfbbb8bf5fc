package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"
)

// report is where everything is, as --json prints it.
type report struct {
	Dir         string             `json:"dir"` // what the lab keeps; --lab of the commands that act on it
	Domain      string             `json:"domain"`
	Datacenters []datacenterReport `json:"datacenters"`
	Upstreams   []upstreamReport   `json:"upstreams"`
	Images      []string           `json:"images"` // as a client writes them after the edge's address
	Charts      []string           `json:"charts"`
	Robots      []robotReport      `json:"robots"`
	Admin       adminReport        `json:"admin"`
	Parent      string             `json:"parent"`     // name server of the zone above the domain, which delegates it; "" where there are no name servers
	PublicKey   string             `json:"public_key"` // file: verifies the signed images
	Seconds     float64            `json:"seconds"`    // how long the start took
}

type datacenterReport struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	Edge     string `json:"edge"`
	Harbor   string `json:"harbor"`
	Admin    string `json:"admin"`
	Metrics  string `json:"metrics"`
	GSLB     string `json:"gslb"`       // where its name server answers, UDP and TCP; "" where datacenters have no addresses of their own
	Steer    string `json:"gslb_admin"` // where that takes drains
	Requests string `json:"requests"`   // a JSON map of what this Harbor was asked
	Faults   string `json:"faults"`     // GET, PUT and DELETE: what is wrong with this Harbor
	Fleet    string `json:"fleet"`      // the edge's fleet file
}

type upstreamReport struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Requests string `json:"requests"`
	Faults   string `json:"faults"`
}

type robotReport struct {
	Name    string `json:"name"`
	Secret  string `json:"secret"`
	Project string `json:"project"`
}

type adminReport struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (l *running) describe() {
	r := &l.report
	r.Dir, r.Domain = l.dir, domain
	for i, place := range places {
		servers, harbor := l.edges[i].Servers, l.harbors[i].URL()
		at := func(n int) string { return "http://" + servers[n].Listener.Addr().String() }
		r.Datacenters = append(r.Datacenters, datacenterReport{
			Name: place.name, Role: place.role, Edge: at(0), Metrics: at(1), Admin: at(2), Harbor: harbor,
			Requests: harbor + "/_lab/requests", Faults: harbor + "/_lab/faults", Fleet: l.dir + "/" + place.name + "/fleet.yaml",
		})
		if i < len(l.gslbs) {
			last := &r.Datacenters[i]
			last.GSLB, last.Steer = l.gslbs[i].Addresses()[0], l.gslbs[i].Servers[1].Listener.Addr().String()
		}
	}
	if l.parent != nil {
		r.Parent = l.parent.address
	}
	hub := l.hub.URL()
	r.Upstreams = []upstreamReport{{"docker-hub", hub, hub + "/_lab/requests", hub + "/_lab/faults"}}
	for _, robot := range demoRobots {
		r.Robots = append(r.Robots, robotReport{"robot$multi-dc-demo+" + robot.name, robot.secret, "multi-dc-demo"})
	}
	r.Admin.Username, r.Admin.Password = l.harbors[0].Admin()
}

// print shows the report to a person.
func (r *report) print(w io.Writer) error {
	fmt.Fprintf(w, "The fleet is up after %.1f s.\n\n", r.Seconds)
	if err := r.table(w); err != nil {
		return err
	}
	edge := strings.TrimPrefix(r.Datacenters[0].Edge, "http://")
	reader, writer := r.Robots[0], r.Robots[1]
	_, err := fmt.Fprintf(w, `
Try, in another terminal:

  docker run --rm %[1]s/%[2]s
  podman pull --tls-verify=false %[1]s/cache-dockerhub/library/multi
  crane pull --insecure %[1]s/cache-dockerhub/library/big big.tar
  helm pull --plain-http oci://%[1]s/%[3]s
  cosign verify --key %[12]s --allow-http-registry --insecure-ignore-tlog=true %[1]s/cache-dockerhub/library/signed

Private: refused until you log in with a robot of multi-dc-demo.

  docker pull %[1]s/multi-dc-demo/app:v1
  docker login %[1]s -u '%[4]s' -p %[5]s        (pull)
  docker login %[1]s -u '%[6]s' -p %[7]s      (pull and push)

Let the fleet file set up the Harbors: what would change, change it (a second time there is nothing to do), see that it
works. From then on, what is pushed to one Harbor is replicated to all.

  go run ./cmd/breakwater provision plan --config %[16]s
  go run ./cmd/breakwater provision apply --config %[16]s
  go run ./cmd/breakwater provision verify --config %[16]s

See what a machine lacks: all that its edge, name server and provision need is tried.

  go run ./cmd/breakwater doctor --config %[16]s --datacenter %[13]s%[18]s

%[15]sTake Docker Hub away: what was pulled once is served all the same.

  curl -X PUT %[8]s -d '[{"name":"down"}]'
  curl -X DELETE %[8]s
  curl %[9]s        (what Docker Hub was asked)

Break what you like, and see what clients see of it: logins, pulls and pushes go on.

  go run ./cmd/lab break harbor %[13]s        (or edge)
  go run ./cmd/lab partition %[13]s %[17]s      nothing passes between the two
  go run ./cmd/lab slow %[17]s 40ms           it is far away
  go run ./cmd/lab heal
  curl -X PUT %[14]s -d '[{"name":"db-down"}]'    (the database of %[13]s's Harbor; DELETE ends it)

Harbor's administrator is %[10]s, %[11]s. Ctrl-C ends the lab. Requests, as the edges serve them:

`, edge, r.Images[0], r.Charts[0], reader.Name, reader.Secret, writer.Name, writer.Secret, r.Upstreams[0].Faults, r.Upstreams[0].Requests, r.Admin.Username, r.Admin.Password, r.PublicKey,
		r.Datacenters[0].Name, r.Datacenters[0].Faults, r.tryDNS(), r.Datacenters[0].Fleet, r.Datacenters[1].Name, r.root())
	return err
}

// root is where a check of the delegation begins; this machine is not the lab's matter.
func (r *report) root() string {
	if r.Parent == "" {
		return ""
	}
	return " --root " + r.Parent + " --skip machine,store"
}

// table shows where everything is.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DATACENTER\tROLE\tEDGE\tHARBOR (a stand-in)\tMETRICS\tNAME SERVER")
	for _, d := range r.Datacenters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s/metrics\t%s\n", d.Name, d.Role, d.Edge, d.Harbor, d.Metrics, cmp.Or(d.GSLB, "none"))
	}
	fmt.Fprintf(t, "\nDocker Hub is played by %s.\n", r.Upstreams[0].URL)
	return t.Flush()
}

// tryDNS are the lines about name servers.
func (r *report) tryDNS() string {
	first, second := r.Datacenters[0], r.Datacenters[1]
	host, port, err := net.SplitHostPort(first.GSLB)
	if err != nil {
		return "No name servers: all datacenters have one address here, and DNS could not tell them apart.\n\n"
	}
	return fmt.Sprintf(`Who is sent where: clients of 10.1.0.0/16 to %[3]s, of 10.2.0.0/16 to %[4]s, all to the backup when neither serves.

  dig @%[1]s -p %[2]s %[5]s +subnet=10.2.3.0/24
  dig @%[1]s -p %[2]s _why.%[5]s TXT +short +subnet=10.2.3.0/24
  go run ./cmd/breakwater gslb explain --admin %[6]s --client 10.2.3.4

Take a datacenter out, and dig again: all name servers are told. Then try to take out the others too.

  go run ./cmd/breakwater gslb drain --admin %[6]s --fleet %[4]s
  go run ./cmd/breakwater gslb status --admin %[6]s --fleet
  go run ./cmd/breakwater gslb release --admin %[6]s --fleet %[4]s

`, host, port, first.Name, second.Name, r.Domain, first.Steer)
}
