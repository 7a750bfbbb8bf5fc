package wire

import (
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/proxy/warm"
)

// warmSets are what a datacenter's edge has in its store before it is asked for.
func warmSets(f *fleet.Fleet, datacenter string) (all []warm.Set) {
	add := func(project string, sets []fleet.Warm) {
		for _, s := range sets {
			all = append(all, warm.Set{Project: project, Images: s.Images, Tags: s.Tags, Platforms: s.Platforms, Datacenters: s.Datacenters,
				Push: s.OnPush, Every: time.Duration(s.Every)})
		}
	}
	for name, p := range f.Projects.MultiDC.Items {
		add(naming.MultiDC+name, p.In(datacenter).Warm)
	}
	for name, p := range f.Projects.Cache.Items {
		add(naming.Cache+name, p.In(datacenter).Warm)
	}
	for name, p := range f.Projects.Repl.Items {
		add(naming.Repl+name, p.In(datacenter).Warm)
	}
	return all
}
