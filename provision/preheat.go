package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/secret"
)

const (
	// preheatName is that of our instance in a Harbor, and of our policy in a project.
	preheatName = "breakwater"
	// preheatPath is where edges are asked for images, below their address (proxy/preheat).
	preheatPath = "/breakwater/v1/preheat"
	// preheatUser is whom Harbor logs in as there.
	preheatUser  = "breakwater"
	kraken       = "kraken" // Harbor's driver, of which the edge speaks the protocol
	preheatsPath = "/p2p/preheat/instances"
	theButton    = "manual" // a trigger

	fieldEndpoint = "endpoint"
)

// instance is an edge, as a Harbor knows it for its preheat policies. Its password is
// not read, as Harbor need not show it: the description names the key that it is derived from.
type instance struct {
	vendor      string
	endpoint    string
	auth        string
	description string
	key         string // of which the password is derived; "": not said
	disabled    bool
	insecure    bool
}

func (i *instance) fields() []field {
	all := []field{{fieldType, i.vendor}, {fieldEndpoint, i.endpoint}, {"auth", i.auth}, {"insecure", strconv.FormatBool(i.insecure)},
		{"disabled", strconv.FormatBool(i.disabled)}, {"description", i.description}}
	if i.key != "" {
		all = append(all, field{"key", i.key})
	}
	return all
}

// preheat is a project's policy by which Harbor has the edge bring images.
type preheat struct {
	description string
	instance    int64    // 0: ours
	filters     []filter // of repository, tag and label: values as Harbor has them
	trigger     string   // event_based | scheduled | manual
	cron        string
	disabled    bool
}

func (p *preheat) fields() []field {
	var texts []string
	for _, f := range p.filters {
		texts = append(texts, f.String())
	}
	provider := preheatName
	if p.instance != 0 {
		provider = fmt.Sprintf("(another one, %d)", p.instance)
	}
	return []field{{"filters", set(texts)}, {"trigger", strings.TrimSpace(p.trigger + " " + p.cron)}, {"instance", provider},
		{"disabled", strconv.FormatBool(p.disabled)}, {"description", p.description}}
}

// wantInstance wants the Harbor to know its edge, where policies may be.
func (w *wanting) wantInstance(d *wanted, datacenter string) {
	edge, key := w.fleet.Datacenters[datacenter].Edge, w.fleet.Edge.Peers.Key
	if edge == "" || key.IsZero() || !w.fleet.Preheats() {
		return
	}
	k := Key{datacenter, kindInstance, preheatName}
	o := &instance{vendor: kraken, endpoint: strings.TrimRight(string(edge), "/") + preheatPath, auth: "BASIC", description: marked("The edge of " + datacenter)}
	d.add(k, o)
	if from, ok := w.edgesKey(d, keyring.Preheat); ok {
		o.key, d.secrets[k] = from.ID, secret.Preheat(from, datacenter)
	}
}

// wantPreheat wants the policy of a project.
func (w *wanting) wantPreheat(d *wanted, datacenter, full string, p *fleet.Preheat, project Key) {
	at := Key{datacenter, kindInstance, preheatName}
	if p == nil || d.objects[at] == nil {
		return
	}
	k := Key{datacenter, kindPreheat, full + " " + preheatName}
	o := &preheat{description: mark, trigger: eventBased, filters: []filter{{kind: "repository", value: oneGlob(p.Repos)}, {kind: filterTag, value: oneGlob(p.Tags)}}}
	if len(p.Labels) > 0 {
		o.filters = append(o.filters, filter{kind: "label", value: strings.Join(p.Labels, ",")})
	}
	switch p.Trigger {
	case fleet.PreheatManual:
		o.trigger = theButton
	case fleet.PreheatSchedule:
		var err error
		o.trigger = "scheduled"
		if o.cron, err = cron(cmp.Or(time.Duration(p.Every), 24*time.Hour), k.String()); err != nil {
			d.fault(k, "%w", err)
		}
	}
	d.add(k, o, project, at)
}

// oneGlob is several globs as one.
func oneGlob(all []string) string {
	switch len(all) {
	case 0:
		return "**"
	case 1:
		return all[0]
	}
	return "{" + strings.Join(all, ",") + "}"
}

// instanceShown is an instance as Harbor shows it.
type instanceShown struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Vendor      string `json:"vendor"`
	Endpoint    string `json:"endpoint"`
	AuthMode    string `json:"auth_mode"`
	Enabled     bool   `json:"enabled"`
	Insecure    bool   `json:"insecure"`
}

// readInstance reads our instance. A Harbor that has none of this, and an account that may not
// see it, are noted: that matters where it is wanted.
func (h *harbor) readInstance(ctx context.Context, have *having) error {
	all, err := pages(func(page int64) (got []instanceShown, err error) {
		_, err = h.call(ctx, http.MethodGet, fmt.Sprintf("%s?page=%d&page_size=%d", preheatsPath, page, pageSize), nil, &got)
		return got, err
	})
	switch {
	case isCode(err, http.StatusForbidden):
		have.noPreheat = http.StatusForbidden
		return nil
	case isCode(err, http.StatusNotFound), isCode(err, http.StatusMethodNotAllowed), isCode(err, http.StatusNotImplemented):
		have.noPreheat = http.StatusNotFound
		return nil
	case err != nil:
		return fmt.Errorf("list the preheat instances: %w", plain(err))
	}
	have.preheats.taken = map[string]string{}
	for _, i := range all {
		if i.Name == preheatName {
			have.put(kindInstance, i.Name, &entry{id: i.ID, object: i.read()})
		} else {
			have.preheats.taken[i.Endpoint] = i.Name
		}
	}
	return nil
}

// read is the instance as it is compared. Its description says by which key its password is.
func (i instanceShown) read() *instance {
	out := &instance{vendor: i.Vendor, endpoint: i.Endpoint, auth: i.AuthMode, description: i.Description, disabled: !i.Enabled, insecure: i.Insecure}
	if text, ok := strings.CutSuffix(i.Description, " "+mark); ok {
		text, out.key, _ = strings.Cut(text, byTheKey)
		out.description = marked(text)
	}
	return out
}

const byTheKey = ", by the key "

// preheatShown is a policy as Harbor shows it: filters and trigger are texts of JSON.
type preheatShown struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Provider    int64  `json:"provider_id"`
	Filters     string `json:"filters"`
	Trigger     string `json:"trigger"`
	Enabled     bool   `json:"enabled"`
}

// filterShown is one of a policy's filters.
type filterShown struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

type triggerShown struct {
	Type     string `json:"type"`
	Settings struct {
		Cron string `json:"cron"`
	} `json:"trigger_setting"`
}

// policiesOf is where a project's preheat policies are. Harbor takes its name there, and no number.
func policiesOf(project string) string {
	return "/projects/" + url.PathEscape(project) + "/preheat/policies"
}

func preheatRead(p preheatShown, ours int64) *preheat {
	out := &preheat{description: p.Description, disabled: !p.Enabled}
	if p.Provider != ours {
		out.instance = p.Provider
	}
	var filters []filterShown
	var trigger triggerShown
	if err := errors.Join(json.Unmarshal([]byte(p.Filters), &filters), json.Unmarshal([]byte(p.Trigger), &trigger)); err != nil {
		out.trigger = "(it cannot be read)"
		return out
	}
	for _, f := range filters {
		out.filters = append(out.filters, filter{kind: f.Type, value: f.Value})
	}
	out.trigger, out.cron = trigger.Type, trigger.Settings.Cron
	return out
}

// without notes that a Harbor does not show what preheats.
func (p *Plan) without(k Key, status int) {
	p.Read--
	switch {
	case status == http.StatusForbidden:
		p.Unseen = append(p.Unseen, k)
		p.note(k, "this account may not see it, so it is left alone")
	case k.Kind == kindInstance:
		p.note(k, "this Harbor has no API for preheat policies, so there are none: they came with v2.1")
	}
}

// makeInstance makes the instance, and finds its number, which Harbor does not say.
func (w *writer) makeInstance(ctx context.Context, o *instance) error {
	if _, err := w.call(ctx, http.MethodPost, preheatsPath, o.model(w.change.secret), nil); err != nil {
		return err
	}
	var made instanceShown
	if _, err := w.call(ctx, http.MethodGet, preheatsPath+"/"+preheatName, nil, &made); err != nil {
		return err
	}
	w.run.setID(w.change.Key, made.ID)
	return nil
}

// model is the instance as it is written, always with its password: Harbors of some versions
// lose one that is left out.
func (i *instance) model(password string) map[string]any {
	return map[string]any{"name": preheatName, "description": marked(strings.TrimSuffix(i.description, " "+mark) + byTheKey + i.key), "vendor": i.vendor, "endpoint": i.endpoint, "enabled": !i.disabled, "insecure": i.insecure,
		"auth_mode": i.auth, "auth_info": map[string]string{preheatUser: password}}
}

func (w *writer) putInstance(ctx context.Context, o *instance) error {
	return w.putOver(ctx, preheatsPath+"/"+preheatName, o.model(w.change.secret))
}

func (w *writer) makePreheat(ctx context.Context, o *preheat) error {
	model, err := o.model(w.run.id(w.key(kindInstance, preheatName)))
	if err != nil {
		return err
	}
	_, err = w.call(ctx, http.MethodPost, policiesOf(projectOfKey(w.change.Key)), model, nil)
	return err
}

func (w *writer) putPreheat(ctx context.Context, o *preheat) error {
	model, err := o.model(w.run.id(w.key(kindInstance, preheatName)))
	if err != nil {
		return err
	}
	return w.putOver(ctx, policiesOf(projectOfKey(w.change.Key))+"/"+preheatName, model)
}

func (p *preheat) model(instance int64) (map[string]any, error) {
	filters, trigger := []filterShown{}, triggerShown{Type: p.trigger}
	for _, f := range p.filters {
		filters = append(filters, filterShown{f.kind, f.value})
	}
	trigger.Settings.Cron = p.cron
	filterText, err := json.Marshal(filters)
	if err != nil {
		return nil, err
	}
	triggerText, err := json.Marshal(trigger)
	return map[string]any{"name": preheatName, "description": p.description, "provider_id": instance, "filters": string(filterText), "trigger": string(triggerText), "enabled": !p.disabled}, err
}

// said is the policy as a fleet file has it; "": it cannot be said there.
func (p *preheat) said() string {
	var all []string
	for _, f := range p.filters {
		text, ok := f.value.(string)
		field := map[string]string{"repository": "repos", filterTag: "tags", "label": "labels"}[f.kind]
		if !ok || field == "" {
			return ""
		}
		values := []string{text}
		if inner, braced := strings.CutPrefix(text, "{"); braced && strings.Count(text, "{") == 1 && strings.HasSuffix(text, "}") {
			values = strings.Split(strings.TrimSuffix(inner, "}"), ",")
		}
		if field == "labels" {
			values = strings.Split(text, ",")
		}
		for i, v := range values {
			values[i] = strconv.Quote(v)
		}
		if !slices.Equal(values, []string{`"**"`}) {
			all = append(all, field+": ["+strings.Join(values, ", ")+"]")
		}
	}
	switch p.trigger {
	case eventBased:
		all = append(all, "trigger: "+fleet.PreheatPush)
	case theButton:
		all = append(all, "trigger: "+fleet.PreheatManual)
	case "scheduled":
		all = append(all, "trigger: "+fleet.PreheatSchedule+", every: "+duration(cmp.Or(interval(p.cron), 24*time.Hour)))
	default:
		return ""
	}
	return "{ " + strings.Join(all, ", ") + " }"
}

// preheats are a project's policies as fields of a fleet file, by datacenter, and the one that all
// have: what one alone lacks cannot be taken back there.
func (x *exporter) preheats(full, home string) (texts map[string]string, everywhere string) {
	texts = map[string]string{}
	for _, datacenter := range x.names {
		if e := x.have[datacenter].get(kindPreheat, full+" "+preheatName); e != nil && !e.object.(*preheat).disabled {
			if text := e.object.(*preheat).said(); text != "" {
				texts[datacenter] = "preheat: " + text
			}
		}
	}
	everywhere = texts[home]
	for _, datacenter := range x.names {
		if x.have[datacenter].get(kindProject, full) != nil && texts[datacenter] != everywhere {
			everywhere = ""
		}
	}
	return texts, everywhere
}
