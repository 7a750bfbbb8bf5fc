package fleet

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
)

func (f *Fleet) checkProjects(d *decoder) {
	p := &f.Projects
	f.checkCopies(d) // it says better what is idle than that it is
	for path, fields := range idleAt {
		for _, field := range fields {
			if d.written(path + "." + field) {
				d.report(path+"."+field, "it does nothing there; write it for each project, and for Artifactory's beside defaults")
			}
		}
	}
	f.checkGrouped(d)
	f.checkNames(d)
	for _, name := range sorted(p.MultiDC.Items) {
		path, project := "projects.multi-dc."+name, p.MultiDC.Items[name]
		f.checkMultiDC(d, path, project)
	}
	f.checkMultiDC(d, "projects.multi-dc.defaults", &p.MultiDC.Defaults)
	for _, name := range sorted(p.Cache.Items) {
		path, project := "projects.cache."+name, p.Cache.Items[name]
		f.checkCache(d, path, project)
	}
	checkCommon(d, "projects.cache.defaults", p.Cache.Defaults.Quota, p.Cache.Defaults.Retention, p.Cache.Defaults.Members)
	checkProvider(d, "projects.cache.defaults.provider", p.Cache.Defaults.Provider)
	checkKept(d, "projects.cache.defaults", &p.Cache.Defaults)
	for _, name := range sorted(p.Repl.Items) {
		path, project := "projects.repl."+name, p.Repl.Items[name]
		f.checkRepl(d, path, project)
	}
	checkCommon(d, "projects.repl.defaults", p.Repl.Defaults.Quota, p.Repl.Defaults.Retention, p.Repl.Defaults.Members)
	checkEvery(d, "projects.repl.defaults.every", p.Repl.Defaults.Every)
	f.checkAllWarm(d)
	f.checkPreheat(d)
	if a := p.Artifactory; a != nil {
		f.checkArtifactory(d, a)
	}
}

func (d *decoder) written(path string) bool { _, ok := d.lines[path]; return ok }

// checkCommon checks what projects of all kinds have, where it is written: what comes from the
// defaults is checked there.
func checkCommon(d *decoder, path string, quota Size, retention *Retention, members []Member) {
	checkQuota(d, path+".quota", quota)
	checkRetention(d, path+".retention", retention)
	checkMembers(d, path, members)
}

func checkQuota(d *decoder, path string, quota Size) {
	if !d.written(path) {
		return
	}
	if quota == 0 || quota < Unlimited {
		d.report(path, "a quota is more than nothing; write 10GiB or unlimited")
	}
}

func checkRetention(d *decoder, path string, r *Retention) {
	if !d.written(path) {
		return
	}
	if *r == (Retention{}) {
		d.report(path, "it has no rule, so everything would be deleted; write pulled_within, pushed_within, most_recently_pulled, most_recently_pushed or always")
	}
	for field, v := range map[string]Duration{"pulled_within": r.PulledWithin, "pushed_within": r.PushedWithin} {
		if v < 0 || v%Duration(day) != 0 {
			d.report(path+"."+field, "%v: Harbor counts in whole days", v)
		}
	}
	if r.MostRecentlyPulled < 0 || r.MostRecentlyPushed < 0 {
		d.report(path, "a number of artifacts is not negative")
	}
}

func checkMembers(d *decoder, path string, members []Member) {
	if !d.written(path + ".members") {
		return
	}
	seen := map[string]bool{}
	for i, m := range members {
		at := fmt.Sprintf("%s.members[%d]", path, i)
		if seen[m.Group] && m.Group != "" {
			d.report(at+".group", "%s is a member already; it has one role", m.Group)
		}
		seen[m.Group] = true
		if m.Group == "" {
			d.report(at+".group", "it is missing")
		}
		if m.Role == "" {
			d.report(at+".role", "it is missing")
		}
		oneOf(d, at+".role", m.Role, "admin", "maintainer", "developer", "guest", "limited-guest")
	}
}

// checkOverrides reports what is wrong with a project as a datacenter has it.
func checkOverrides[P any](f *Fleet, d *decoder, path string, of map[string]P, check func(d *decoder, path string, name string)) {
	for _, name := range sorted(of) {
		at := path + ".datacenters." + name
		if f.Datacenters[name] == nil {
			d.report(at, "there is no such datacenter")
			continue
		}
		if d.written(at + ".datacenters") {
			d.report(at+".datacenters", "it does nothing there: this is one datacenter's already")
		}
		check(d, at, name)
	}
}

func (f *Fleet) checkMultiDC(d *decoder, path string, p *MultiDC) {
	checkCommon(d, path, p.Quota, p.Retention, p.Members)
	checkOverrides(f, d, path, p.Datacenters, func(d *decoder, at, name string) {
		here := p.In(name)
		f.checkMultiDC(d, at, here)
		if here.Replication.Tags != p.Replication.Tags {
			d.report(at+".replication.tags", "who owns the tags is the same in all datacenters; write it for the project")
		}
	})
	f.checkTags(d, path+".replication.tags", p.Replication.Tags)
	for _, pattern := range p.Immutable {
		if err := naming.CheckPattern(pattern); err != nil && d.written(path+".immutable_tags") {
			d.report(path+".immutable_tags", "%v", err)
		}
	}
	oneOf(d, path+".replication.push", p.Replication.Push, "event", "none")
	checkEvery(d, path+".replication.pull", p.Replication.Pull)
}

// checkTags reports who cannot own tags. Where it is not written it is the defaults',
// and checked there.
func (f *Fleet) checkTags(d *decoder, path, owner string) {
	if !d.written(path) {
		return
	}
	oneOf(d, path, owner, TagsEdges, TagsHarbor)
	if lack := f.EdgesLack(); owner == TagsEdges && len(lack) > 0 {
		d.report(path, "edges cannot own tags without %s; write what is missing, or tags: harbor", strings.Join(lack, ", "))
	}
}

// checkGrouped reports who cannot replicate in groups.
func (f *Fleet) checkGrouped(d *decoder) {
	const path = "projects.multi-dc.replication"
	oneOf(d, path, f.Projects.MultiDC.Replication, PerProject, Grouped)
	if !f.Grouped() {
		return
	}
	if f.Harbor.SyncRobot.Secret.IsZero() {
		d.report(path, "it needs a robot of the system, as which Harbors replicate all projects; write harbor.sync_robot.secret")
	}
	if !f.Edge.Robot.Secret.IsZero() && f.Harbor.SyncRobot.Name == f.Edge.Robot.Name {
		d.report("harbor.sync_robot.name", "the edge's robot has that name (edge.robot.name); write another")
	}
}

// checkEvery reports intervals that Harbor's cron cannot keep.
func checkEvery(d *decoder, path string, every Duration) {
	if err := CheckInterval(time.Duration(every)); err != nil && d.written(path) {
		d.report(path, "%v", err)
	}
}

// CheckInterval says why schedules in Harbor cannot repeat at an interval: they count
// minutes of an hour, hours of a day, and days of a week.
func CheckInterval(every time.Duration) error {
	ok := every >= time.Minute && every%time.Minute == 0
	switch {
	case every < time.Hour:
		ok = ok && time.Hour%max(every, time.Minute) == 0
	case every < day:
		ok = ok && every%time.Hour == 0 && day%every == 0
	default:
		ok = every == day || every == 7*day
	}
	if !ok {
		return fmt.Errorf("schedules in Harbor cannot repeat every %v: write minutes that divide an hour, hours that divide a day, 1d or 7d", every)
	}
	return nil
}

func (f *Fleet) checkCache(d *decoder, path string, p *Cache) {
	checkProvider(d, path+".provider", p.Provider)
	if p.Endpoint == "" && slices.Contains(providers, p.Provider) { // of another, nobody knows whether it needs one
		d.report(path+".endpoint", "it is missing; write the upstream's address, as https://quay.io")
	}
	if host := strings.TrimPrefix(p.Endpoint.Host(), "www."); p.Provider == "docker-registry" && (host == "docker.io" || host == "hub.docker.com" || host == "docker.com") {
		d.report(path+".endpoint", "there is no registry at %s; write provider: docker-hub instead", host)
	}
	if at := p.Endpoint.path(); at != "" && p.Provider != "docker-registry" && p.Provider != "jfrog-artifactory" {
		d.report(path+".endpoint", "Harbor takes no path (/%s) for a %s; write %s", at, p.Provider, strings.TrimSuffix(string(p.Endpoint), "/"+at))
	}
	if p.Provider == AWS && p.Endpoint != "" && !ecr.MatchString(string(p.Endpoint)) {
		d.report(path+".endpoint", "Harbor takes no such address for aws-ecr; write https://<account>.dkr.ecr.<region>.amazonaws.com, or leave provider out for another registry (public.ecr.aws)")
	}
	if p.Username.IsZero() != p.Password.IsZero() {
		d.report(path, "a login needs both username and password")
	}
	for i, realm := range p.Realms {
		if u, err := url.Parse("//" + realm); err != nil || u.Host != realm || checkHost(u) != nil {
			d.report(fmt.Sprintf("%s.realms[%d]", path, i), "this is no host; write it without scheme and path, as auth.example.org")
		}
	}
	checkCommon(d, path, p.Quota, p.Retention, p.Members)
	checkKept(d, path, p)
	checkOverrides(f, d, path, p.Datacenters, func(d *decoder, at, name string) { f.checkCache(d, at, p.In(name)) })
}

// checkKept checks what outlives the upstream's own, where it is written.
func checkKept(d *decoder, path string, p *Cache) {
	if at := path + ".keep_deleted"; d.written(at) && p.Keep != nil && *p.Keep < 0 {
		d.report(at, "%v is negative; write 30d, forever or 0", *p.Keep)
	}
	if !d.written(path + ".freeze") {
		return
	}
	for i, pattern := range p.Freeze {
		image, tag := CutTag(pattern)
		if naming.CheckPattern(image) != nil || naming.CheckPattern(tag) != nil {
			d.report(fmt.Sprintf("%s.freeze[%d]", path, i), "%q is no pattern of tags; write image:tag, both globs, as library/nginx:1.{28,29}*", pattern)
		}
	}
}

// CutTag cuts a pattern of tags, image:tag, in its two globs.
func CutTag(pattern string) (image, tag string) {
	at := strings.LastIndexByte(pattern, ':')
	if at < 0 {
		return pattern, ""
	}
	return pattern[:at], pattern[at+1:]
}

var providers = []string{DockerHub, "docker-registry", "harbor", AWS, "azure-acr", "google-gcr", "github-ghcr", "jfrog-artifactory"}

func checkProvider(d *decoder, path, provider string) {
	if provider == "quay" && d.written(path) {
		d.report(path, "Harbor has no proxy cache of type quay; leave provider out (docker-registry)")
		return
	}
	oneOf(d, path, provider, providers...)
}

func (f *Fleet) checkRepl(d *decoder, path string, p *Repl) {
	checkCommon(d, path, p.Quota, p.Retention, p.Members)
	checkOverrides(f, d, path, p.Datacenters, func(d *decoder, at, name string) { f.checkRepl(d, at, p.In(name)) })
	checkEvery(d, path+".every", p.Every)
	if len(p.Images) == 0 {
		d.report(path+".images", "there is none, so nothing would be held")
	}
	taken, rules := map[string]string{}, map[Image]bool{}
	for i, image := range p.Images {
		at := fmt.Sprintf("%s.images[%d]", path, i)
		if f.Projects.Cache.Items[image.From] == nil {
			d.report(at+".from", "there is no cache %q; declare it under projects.cache", image.From)
		}
		rule := Image{From: image.From, Name: image.Name, Tags: image.Tags}
		if rules[rule] {
			d.report(at, "the same image and tags stand there already; keep one of the two")
		}
		rules[rule] = true
		checkEvery(d, at+".every", image.Every)
		for field, pattern := range map[string]string{"name": image.Name, "tags": image.Tags} {
			if err := naming.CheckPattern(pattern); err != nil {
				d.report(at+"."+field, "%v", err)
			}
		}
		source, name := image.From+"/"+image.Name, image.Flatten.Count.Apply(image.Name)
		if other, ok := taken[name]; ok && other != source {
			d.report(at+".flatten", "%s and %s would both become %s; flatten less", other, source, name)
		}
		taken[name] = source
	}
}

func (f *Fleet) checkArtifactory(d *decoder, a *Artifactory) {
	const path = "projects.artifactory"
	if a.URL == "" {
		d.report(path+".url", "it is missing")
	}
	if !hostname.MatchString(a.Domain) {
		d.report(path+".domain", "%q is no host name, and repositories are found at https://<key>.<domain>%s", a.Domain, insteadOf(a.Domain))
	}
	if a.Username.IsZero() != a.Password.IsZero() {
		d.report(path, "a login needs both username and password")
	}
	for _, pattern := range a.Exclude {
		if err := naming.CheckPattern(pattern); err != nil {
			d.report(path+".exclude", "%v", err)
		}
	}
	checkCommon(d, path+".defaults", a.Defaults.Quota, a.Defaults.Retention, a.Defaults.Members)
}
