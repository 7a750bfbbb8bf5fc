package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// trialLines are what to paste into a shell, in this order, and what it is for. There are no comments in them: not every shell takes those.
type trialLines struct {
	text  string
	lines []string
}

// trials are what there is to try.
func (r *report) trials() []trialLines {
	var all []trialLines
	if released() == "" {
		all = []trialLines{{"Build the program once, into the lab's folder, which goes with the lab.", []string{"go build -o " + r.program() + " ./cmd/breakwater"}}}
	}
	all = append(all,
		r.tryPulls(),
		r.tryLogins(),
		r.tryMirrors(),
		r.tryProvision(),
		trialLines{"See what a machine lacks: all that its edge, name server and provision need is tried.", []string{
			fmt.Sprintf("%s doctor --config %s --datacenter %s%s", r.program(), r.Datacenters[0].Fleet, r.Datacenters[0].Name, r.root())}},
	)
	all = append(all, r.tryDNS()...)
	return append(all, r.tryUpstream(), r.tryBreaking())
}

// program is breakwater: beside a lab that came in a release, else where its user builds it.
func (r *report) program() string {
	if lab := released(); lab != "" {
		return filepath.Join(filepath.Dir(lab), "breakwater")
	}
	return r.Dir + "/breakwater"
}

func (r *report) edge() string { return strings.TrimPrefix(r.Datacenters[0].Edge, "http://") }

func (r *report) tryPulls() trialLines {
	edge := r.edge()
	return trialLines{"Pull: what nobody needs to log in for. Then see where an edge would take it from now.", []string{
		fmt.Sprintf("docker run --rm %s/%s", edge, r.Images[0]),
		fmt.Sprintf("podman pull --tls-verify=false %s/cache-dockerhub/library/multi", edge),
		fmt.Sprintf("crane pull --insecure %s/cache-dockerhub/library/big %s/big.tar", edge, r.Dir),
		fmt.Sprintf("helm pull --plain-http oci://%s/%s --destination %s", edge, r.Charts[0], r.Dir),
		fmt.Sprintf("cosign verify --key %s --allow-http-registry --insecure-ignore-tlog=true %s/cache-dockerhub/library/signed", r.PublicKey, edge),
		fmt.Sprintf("%s explain --admin %s cache-dockerhub/library/multi", r.program(), strings.TrimPrefix(r.Datacenters[0].Admin, "http://")),
	}}
}

func (r *report) tryLogins() trialLines {
	edge, reader, writer := r.edge(), r.Robots[0], r.Robots[1]
	return trialLines{"Private: refused until you log in with a robot of multi-dc-demo. The first may pull, the second push too.", []string{
		fmt.Sprintf("docker login %s -u '%s' -p %s", edge, reader.Name, reader.Secret),
		fmt.Sprintf("docker pull %s/multi-dc-demo/app:v1", edge),
		fmt.Sprintf("docker login %s -u '%s' -p %s", edge, writer.Name, writer.Secret),
		fmt.Sprintf("docker tag %s/multi-dc-demo/app:v1 %s/multi-dc-demo/app:mine", edge, edge),
		fmt.Sprintf("docker push %s/multi-dc-demo/app:mine", edge),
	}}
}

func (r *report) tryMirrors() trialLines {
	hosts := fmt.Sprintf("%s hosts --config %s --url %s", r.program(), r.Datacenters[0].Fleet, r.Datacenters[0].Edge)
	return trialLines{"What nodes need to pull docker.io/library/multi by that name, and a client that does.", []string{
		hosts + " --for containerd --out " + r.Dir + "/certs.d",
		hosts + " --for podman --out " + r.Dir,
		fmt.Sprintf("CONTAINERS_REGISTRIES_CONF=%s/registries.conf podman pull docker.io/library/multi", r.Dir),
	}}
}

func (r *report) tryProvision() trialLines {
	provision := func(command string) string {
		return fmt.Sprintf("%s provision %s --config %s", r.program(), command, r.Datacenters[0].Fleet)
	}
	return trialLines{`Let the fleet file set up the Harbors: what would change (the status is 2), change it, see that nothing is left to do, and
that it works. From then on, what is pushed to one Harbor is replicated to all.`, []string{
		provision("plan"),
		provision("apply --yes"),
		provision("plan"),
		provision("verify"),
	}}
}

// tryDNS is about name servers.
func (r *report) tryDNS() []trialLines {
	first, second := r.Datacenters[0], r.Datacenters[1]
	host, port, err := net.SplitHostPort(first.GSLB)
	if err != nil {
		return []trialLines{{text: "No name servers: all datacenters have one address here, and DNS could not tell them apart."}}
	}
	gslb := func(command, more string) string {
		return fmt.Sprintf("%s gslb %s --admin %s %s", r.program(), command, first.Steer, more)
	}
	dig := fmt.Sprintf("dig @%s -p %s", host, port)
	return []trialLines{{
		fmt.Sprintf("Who is sent where: clients of 10.1.0.0/16 to %s, of 10.2.0.0/16 to %s, all to the backup when neither serves.", first.Name, second.Name), []string{
			dig + " " + r.Domain + " +subnet=10.2.3.0/24",
			gslb("explain", "--client 10.2.3.4"),
		}}, {
		"Take a datacenter out: all name servers are told. Dig again, and take that back.", []string{
			gslb("drain", "--fleet "+second.Name),
			gslb("status", "--fleet"),
			dig + " " + r.Domain + " +short +subnet=10.2.3.0/24",
			gslb("release", "--fleet "+second.Name),
		}}}
}

func (r *report) tryUpstream() trialLines {
	hub := r.Upstreams[0]
	return trialLines{"Take Docker Hub away: what was pulled once is served all the same. See what Docker Hub was asked.", []string{
		fmt.Sprintf(`curl -X PUT %s -d '[{"name":"down"}]'`, hub.Faults),
		fmt.Sprintf("crane manifest --insecure %s/cache-dockerhub/library/big", r.edge()),
		"curl -X DELETE " + hub.Faults,
		"curl " + hub.Requests,
	}}
}

func (r *report) tryBreaking() trialLines {
	first, second := r.Datacenters[0], r.Datacenters[1].Name
	lab := func(command string) string { return self() + " " + command + " --lab " + r.Dir }
	return trialLines{"Break what you like (a Harbor, an edge, the way between two datacenters, the distance, the database of a Harbor), and see what\nclients see of it: logins, pulls and pushes go on.", []string{
		lab("break harbor " + first.Name),
		lab("heal harbor " + first.Name),
		lab("break edge " + first.Name),
		lab("partition " + first.Name + " " + second),
		lab("slow " + second + " 40ms"),
		lab("heal"),
		lab("status"),
		fmt.Sprintf(`curl -X PUT %s -d '[{"name":"db-down"}]'`, first.Faults),
		"curl -X DELETE " + first.Faults,
	}}
}
