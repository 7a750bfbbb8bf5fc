package fleet

import (
	"fmt"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
	"example.org/breakwater/registry"
)

// checkAllWarm checks the warm sets of all projects, and of what datacenters have otherwise.
func (f *Fleet) checkAllWarm(d *decoder) {
	f.eachAhead(func(path, project string, sets []Warm, _ *Preheat) { f.checkWarm(d, path, project, sets) })
}

// eachAhead calls do for each project as it is in Harbor, and for each datacenter that has it
// otherwise, with where that is written and what it says of content that is there before it is
// asked for.
func (f *Fleet) eachAhead(do func(path, project string, sets []Warm, preheat *Preheat)) {
	for _, name := range sorted(f.Projects.MultiDC.Items) {
		path, p := "projects.multi-dc."+name, f.Projects.MultiDC.Items[name]
		do(path, f.Project(naming.MultiDC, name), p.Warm, p.Preheat)
		for _, dc := range sorted(p.Datacenters) {
			do(path+".datacenters."+dc, f.Project(naming.MultiDC, name), p.Datacenters[dc].Warm, p.Datacenters[dc].Preheat)
		}
	}
	for _, name := range sorted(f.Projects.Cache.Items) {
		path, p := "projects.cache."+name, f.Projects.Cache.Items[name]
		do(path, f.Project(naming.Cache, name), p.Warm, p.Preheat)
		for _, dc := range sorted(p.Datacenters) {
			do(path+".datacenters."+dc, f.Project(naming.Cache, name), p.Datacenters[dc].Warm, p.Datacenters[dc].Preheat)
		}
	}
	for _, name := range sorted(f.Projects.Repl.Items) {
		path, p := "projects.repl."+name, f.Projects.Repl.Items[name]
		do(path, f.Project(naming.Repl, name), p.Warm, p.Preheat)
		for _, dc := range sorted(p.Datacenters) {
			do(path+".datacenters."+dc, f.Project(naming.Repl, name), p.Datacenters[dc].Warm, p.Datacenters[dc].Preheat)
		}
	}
}

// checkWarm checks the sets of one project.
func (f *Fleet) checkWarm(d *decoder, path, project string, all []Warm) {
	for i, w := range all {
		at := fmt.Sprintf("%s.warm[%d]", path, i)
		multiDC := strings.HasPrefix(path, "projects.multi-dc.")
		switch {
		case w.OnPush && !multiDC:
			d.report(at+".on_push", "nobody pushes to %s; write every", project)
		case !w.OnPush && w.Every == 0:
			d.report(at, "it is never warmed; write every%s", map[bool]string{true: " or on_push: true"}[multiDC])
		case w.Every != 0 && time.Duration(w.Every) < time.Minute:
			d.report(at+".every", "%v is too often; write 1m or more", time.Duration(w.Every))
		case w.Every != 0 && len(w.Tags) == 0:
			d.report(at+".tags", "there is none; write the tags that are looked at, as [latest] or [v*]")
		}
		if len(w.Images) == 0 {
			d.report(at+".images", "there is none, so nothing would be warmed")
		}
		for j, image := range w.Images {
			field := fmt.Sprintf("%s.images[%d]", at, j)
			if err := naming.CheckPattern(image); err != nil {
				d.report(field, "%v", err)
			} else if w.Every != 0 && !registry.ValidRepo(project+"/"+image) {
				d.report(field, "%q is no name of an image, and edges cannot list those that a glob means; write the names in full%s", image, map[bool]string{true: ", or on_push without every"}[multiDC])
			}
		}
		for j, tag := range w.Tags {
			if err := naming.CheckPattern(tag); err != nil {
				d.report(fmt.Sprintf("%s.tags[%d]", at, j), "%v", err)
			}
		}
		for j, p := range w.Platforms {
			if !naming.ValidPlatform(p) {
				d.report(fmt.Sprintf("%s.platforms[%d]", at, j), "%q is no platform; write one as linux/amd64 or linux/arm64/v8", p)
			}
		}
		for j, dc := range w.Datacenters {
			if f.Datacenters[dc] == nil {
				d.report(fmt.Sprintf("%s.datacenters[%d]", at, j), "there is no datacenter %q", dc)
			}
		}
	}
}
