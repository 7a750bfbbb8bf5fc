package provision

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/naming"
)

// preheatUses is what uses our preheat instance, and what is in its way.
type preheatUses struct {
	foreign map[string][]string // policies that are not ours and use our instance, by project; one that was read has an entry
	partly  bool                // not all projects were asked
	taken   map[string]string   // the names of other instances, by their endpoints
}

// preheatPolicies are the policies of a project; those of ours are put, and those of others that
// use our instance are remembered.
func (h *harbor) preheatPolicies(ctx context.Context, have *having, project string) error {
	all, err := pages(func(page int64) (got []preheatShown, err error) {
		_, err = h.call(ctx, http.MethodGet, fmt.Sprintf("%s?page=%d&page_size=%d", policiesOf(project), page, pageSize), nil, &got)
		return got, err
	})
	if err != nil {
		return fmt.Errorf("list the preheat policies of project %s: %w", project, err)
	}
	ours := int64(0)
	if e := have.get(kindInstance, preheatName); e != nil {
		ours = e.id
	}
	var foreign []string
	for _, p := range all {
		if p.Name == preheatName {
			have.put(kindPreheat, project+" "+p.Name, &entry{id: p.ID, object: preheatRead(p, ours)})
		}
		if mine := p.Name == preheatName && strings.HasSuffix(p.Description, mark); p.Provider == ours && !mine {
			foreign = append(foreign, project+"/"+p.Name)
		}
	}
	have.mu.Lock()
	defer have.mu.Unlock()
	if have.preheats.foreign == nil {
		have.preheats.foreign = map[string][]string{}
	}
	have.preheats.foreign[project] = foreign
	return nil
}

// readUsers reads, where our instance is not wanted any more, which policies of any project use
// it: Harbor deletes it only after them. Above lookedInto projects the managed ones alone are asked.
func (h *harbor) readUsers(ctx context.Context, have *having, want *wanted) error {
	e := have.get(kindInstance, preheatName)
	if e == nil || want.objects[Key{have.datacenter, kindInstance, preheatName}] != nil || !strings.HasSuffix(descriptionOf(e.object), mark) {
		return nil
	}
	var projects []string
	for k := range have.entries {
		if k.Kind == kindProject {
			projects = append(projects, k.Name)
		}
	}
	if have.preheats.partly = len(projects) > lookedInto; have.preheats.partly {
		projects = slices.DeleteFunc(projects, func(name string) bool {
			return naming.KindOf(name) == "" && want.objects[Key{have.datacenter, kindProject, name}] == nil
		})
	}
	seen := maps.Clone(have.preheats.foreign)
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for _, name := range projects {
		if _, ok := seen[name]; ok {
			continue
		}
		g.Go(func() error {
			err := h.preheatPolicies(all, have, name)
			if isCode(err, http.StatusForbidden) || isCode(err, http.StatusNotFound) { // Harbor says at the delete what is in the way there
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// preheating says why our instance stays though it is not in the fleet file; "": nothing that
// was read uses it.
func (p *Plan) preheating(h *having, k Key) string {
	var all []string
	for _, policies := range h.preheats.foreign {
		all = append(all, policies...)
	}
	switch slices.Sort(all); len(all) {
	case 0:
		if h.preheats.partly {
			p.note(k, "this Harbor has more than %d projects: only managed ones were asked whether their policies use it", lookedInto)
		}
		return ""
	case 1:
		return all[0] + " uses it; it stays"
	}
	return few(all) + " use it; it stays"
}

// occupied refuses a change by which our instance would get the endpoint of another one: Harbor
// has each once, and answers 500.
func (c *Change) occupied(h *having) {
	o, ok := c.want.(*instance)
	if !ok || !slices.ContainsFunc(c.Fields, func(f FieldChange) bool { return f.Name == fieldEndpoint }) {
		return
	}
	if name := h.preheats.taken[o.endpoint]; name != "" {
		c.Action, c.Why = Refuse, "Harbor has this endpoint as instance "+strconv.Quote(name)+": delete that one, or leave preheat out of the fleet file"
	}
}

// deleteInstance deletes our instance. One that a policy has begun to use since the plan stays.
func (w *writer) deleteInstance(ctx context.Context) error {
	_, err := w.call(ctx, http.MethodDelete, preheatsPath+"/"+preheatName, nil, nil)
	if isCode(err, http.StatusPreconditionFailed) {
		return inUse("a preheat policy of a project uses it; it stays")
	}
	return err
}

// inUse is why something is not deleted: others need it, and nothing is wrong.
type inUse string

func (i inUse) Error() string { return string(i) }
