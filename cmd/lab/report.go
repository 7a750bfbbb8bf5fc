package main

import (
	"cmp"
	"fmt"
	"io"
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
	Prometheus  string             `json:"prometheus"` // its address; "" where there is none
	Scrapes     string             `json:"scrapes"`    // the file of what it scrapes; "" without --prometheus
	Seconds     float64            `json:"seconds"`    // how long the start took
}

type datacenterReport struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	Edge     string `json:"edge"`
	Harbor   string `json:"harbor"`
	Console  string `json:"console"` // for a browser
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
			Name: place.name, Role: place.role, Edge: at(0), Metrics: at(1), Admin: at(2), Console: at(2) + "/console/", Harbor: harbor,
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
	fmt.Fprint(w, "Look at it in a browser, as each datacenter sees it:\n\n")
	for _, d := range r.Datacenters {
		fmt.Fprintf(w, " %s  %s\n", d.Name, d.Console)
	}
	fmt.Fprintf(w, "\nThe fleet is up after %.1f s.\n\n", r.Seconds)
	if err := r.table(w); err != nil {
		return err
	}
	if by := r.watchedBy(); by != "" {
		fmt.Fprintf(w, "\n%s\n", by)
	}
	fmt.Fprint(w, "\nTry, in another terminal, in this folder:\n")
	for _, t := range r.trials() {
		fmt.Fprintf(w, "\n%s\n", t.text)
		for i, line := range t.lines {
			if i == 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, "  "+line)
		}
	}
	_, err := fmt.Fprintf(w, "\nHarbor's administrator is %s, %s. Ctrl-C ends the lab. Requests, as the edges serve them:\n\n", r.Admin.Username, r.Admin.Password)
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
