package wire

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/proxy/warm"
)

// warmSets are what a datacenter's edge has in its store before it is asked for.
func warmSets(f *fleet.Fleet, datacenter string) (all []warm.Set) {
	add := func(project string, in func(datacenter string) []fleet.Warm) {
		for _, s := range in(datacenter) {
			among := s.Datacenters
			if len(among) == 0 { // all that have the set: a datacenter may have others
				for _, name := range slices.Sorted(maps.Keys(f.Datacenters)) {
					if slices.ContainsFunc(in(name), func(o fleet.Warm) bool { return reflect.DeepEqual(s, o) }) {
						among = append(among, name)
					}
				}
			}
			all = append(all, warm.Set{Project: project, Images: s.Images, Tags: s.Tags, Platforms: s.Platforms, Datacenters: among,
				Push: s.OnPush, Every: time.Duration(s.Every)})
		}
	}
	for name, p := range f.Projects.MultiDC.Items {
		add(f.Project(naming.MultiDC, name), func(datacenter string) []fleet.Warm { return p.In(datacenter).Warm })
	}
	for name, p := range f.Projects.Cache.Items {
		add(f.Project(naming.Cache, name), func(datacenter string) []fleet.Warm { return p.In(datacenter).Warm })
	}
	for name, p := range f.Projects.Repl.Items {
		add(f.Project(naming.Repl, name), func(datacenter string) []fleet.Warm { return p.In(datacenter).Warm })
	}
	return all
}
