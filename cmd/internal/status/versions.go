package status

import (
	"cmp"
	"fmt"
	"strings"
)

// Running is which version a node of the fleet runs.
type Running struct {
	Node    string `json:"node"`              // as "the edge of par1"; with its instance or address where there are several
	Version string `json:"version"`           // "": it did not say
	Why     string `json:"why,omitempty"`     // it did not
	Address string `json:"address,omitempty"` // host:port of an edge
}

// Running are the versions of all edges and name servers, in the order of the fleet file.
func (f *Fleet) Running() (all []Running) {
	for _, d := range f.Datacenters {
		for _, e := range d.Edges {
			r := Running{Node: "the edge of " + d.Name, Why: e.Why, Address: strings.Join(e.Addresses, " ")}
			switch several := len(d.Edges) > 1; {
			case e.Report != nil:
				r.Version, r.Why = e.Report.Version, ""
				if several {
					r.Node += " (" + e.Report.Instance + ")"
				}
			case several:
				r.Node += " (" + r.Address + ")"
			}
			all = append(all, r)
		}
	}
	for _, s := range f.NameServers {
		if len(s.Reports) == 0 {
			all = append(all, Running{Node: "the name server of " + s.Datacenter, Why: cmp.Or(s.Why, "it tells its version to operators alone, and could not be asked as one")})
		}
		for _, seen := range s.Reports {
			r := Running{Node: "the name server of " + seen.Node, Why: seen.Error}
			if seen.Report != nil {
				r.Version = seen.Report.Version
			}
			all = append(all, r)
		}
	}
	return all
}

// Differences says which nodes run which version, a sentence a version, where there is more
// than one. Who does not say it differs from nobody.
func Differences(all []Running) (sentences []string) {
	var versions []string
	nodes := map[string][]string{}
	for _, r := range all {
		if r.Version == "" {
			continue
		}
		if nodes[r.Version] == nil {
			versions = append(versions, r.Version)
		}
		nodes[r.Version] = append(nodes[r.Version], r.Node)
	}
	if len(versions) < 2 {
		return nil
	}
	for _, v := range versions {
		verb := "runs"
		if len(nodes[v]) > 1 {
			verb = "run"
		}
		who := strings.Join(nodes[v], ", ")
		sentences = append(sentences, fmt.Sprintf("%s%s %s %s.", strings.ToUpper(who[:1]), who[1:], verb, v))
	}
	return sentences
}
