package lab

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
)

// preheatInstance is a peer-to-peer provider to which Harbor says what to fetch.
type preheatInstance struct {
	ID          int               `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Vendor      string            `json:"vendor"`
	Endpoint    string            `json:"endpoint"`
	AuthMode    string            `json:"auth_mode,omitempty"`
	AuthInfo    map[string]string `json:"auth_info,omitempty"` // never shown
	Status      string            `json:"status,omitempty"`
	Enabled     bool              `json:"enabled"`
	Default     bool              `json:"default"`
	Insecure    bool              `json:"insecure"`
	Setup       int64             `json:"setup_timestamp,omitempty"` // s since 1970
}

// preheatName is how instances and policies may be called.
var preheatName = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`)

func (h *Harbor) preheatRoutes() []route {
	const path, policies = "/p2p/preheat", "/projects/{project}/preheat/policies"
	system := func(action string) apiHandler { return inSystem("preheat-instance", action) }
	may := func(action string) apiHandler {
		return func(c *apiCall) error {
			c.r.Header.Set("X-Is-Resource-Name", "true") // it takes no numbers of projects here
			return h.inProject("preheat-policy", action)(c)
		}
	}
	return []route{
		{method: "GET", path: path + "/providers", check: system("list"), serve: func(c *apiCall) error {
			return c.reply([]map[string]any{{"id": "dragonfly", "name": "Dragonfly"}, {"id": kraken, "name": "Kraken", "version": "0.1.3", "source": "https://github.com/uber/kraken"}})
		}},
		{method: "GET", path: path + "/instances", check: system("list"), serve: h.listPreheatInstances},
		{method: "POST", path: path + "/instances", check: system("create"), serve: h.postPreheatInstance},
		{method: "POST", path: path + "/instances/ping", check: system("read"), serve: h.pingPreheatInstance, unlocked: true},
		{method: "GET", path: path + "/instances/{name}", check: system("read"), serve: h.getPreheatInstance},
		{method: "PUT", path: path + "/instances/{name}", check: system("update"), serve: h.putPreheatInstance},
		{method: "DELETE", path: path + "/instances/{name}", check: system("delete"), serve: h.deletePreheatInstance},
		{method: "GET", path: policies, check: may("list"), serve: h.listPreheatPolicies},
		{method: "POST", path: policies, check: may("create"), serve: h.postPreheatPolicy},
		{method: "GET", path: policies + "/{name}", check: may("read"), serve: h.getPreheatPolicy},
		{method: "PUT", path: policies + "/{name}", check: may("update"), serve: h.putPreheatPolicy},
		{method: "DELETE", path: policies + "/{name}", check: may("delete"), serve: h.deletePreheatPolicy},
		{method: "POST", path: policies + "/{name}", check: may("read"), serve: h.runPreheatPolicy, unlocked: true},
		{method: "GET", path: policies + "/{name}/executions", check: may("list"), serve: h.listPreheatRuns},
	}
}

// kraken is the driver that is imitated; of dragonfly there is the name alone.
const kraken = "kraken"

// view is what Harbor shows: never what it logs in with.
func (i *preheatInstance) view() *preheatInstance {
	shown := *i
	shown.AuthInfo, shown.Status = nil, "Unknown"
	return &shown
}

func (h *Harbor) listPreheatInstances(c *apiCall) error {
	rows := []row{}
	for _, i := range h.db.preheaters {
		rows = append(rows, row{i.view(), map[string]any{"id": i.ID, "name": i.Name, "vendor": i.Vendor, "endpoint": i.Endpoint}})
	}
	return c.list(rows, "id")
}

func (d *database) preheater(matches func(i *preheatInstance) bool) *preheatInstance {
	if at := slices.IndexFunc(d.preheaters, matches); at >= 0 {
		return d.preheaters[at]
	}
	return nil
}

func (h *Harbor) preheaterOf(c *apiCall) (*preheatInstance, error) {
	name := c.r.PathValue("name")
	if i := h.db.preheater(func(i *preheatInstance) bool { return i.Name == name }); i != nil {
		return i, nil
	}
	return nil, missing("instance %s not found", name)
}

func (h *Harbor) readPreheater(c *apiCall) (*preheatInstance, error) {
	var i preheatInstance
	if err := c.read("instance", &i); err != nil {
		return nil, err
	}
	if !preheatName.MatchString(i.Name) {
		return nil, broken()
	}
	return &i, nil
}

// postPreheatInstance refuses a second instance of an endpoint with 500, and of a name with 409.
func (h *Harbor) postPreheatInstance(c *apiCall) error {
	i, err := h.readPreheater(c)
	switch {
	case err != nil:
		return err
	case h.db.preheater(func(o *preheatInstance) bool { return o.Endpoint == i.Endpoint }) != nil:
		return broken()
	case h.db.preheater(func(o *preheatInstance) bool { return o.Name == i.Name }) != nil:
		return conflict("instance %s already exists", i.Name)
	}
	i.ID, i.Setup = h.db.id("preheaters"), h.db.now().Unix()
	h.db.preheaters = append(h.db.preheaters, i)
	return c.created("/p2p/preheat/instances/%s", i.Name)
}

func (h *Harbor) getPreheatInstance(c *apiCall) error {
	i, err := h.preheaterOf(c)
	if err != nil {
		return err
	}
	return c.reply(i.view())
}

// putPreheatInstance changes the instance whose number is in the body, whatever the path's name
// is. A login that the body lacks stays.
func (h *Harbor) putPreheatInstance(c *apiCall) error {
	named, err := h.preheaterOf(c)
	if err != nil {
		return err
	}
	i, err := h.readPreheater(c)
	if err != nil {
		return err
	}
	old := h.db.preheater(func(o *preheatInstance) bool { return o.ID == i.ID })
	switch {
	case old == nil:
		return missing("instance %d not found", i.ID)
	case !i.Enabled && h.preheats(old.ID):
		return precondition("Provider [%s] cannot be disabled as some preheat policies are using it", old.Name)
	case i.Vendor != old.Vendor:
		return broken()
	case len(i.AuthInfo) == 0 && i.AuthMode != "NONE":
		i.AuthInfo = maps.Clone(named.AuthInfo)
	}
	*old = *i
	return nil
}

// preheats reports whether a policy of any project uses the instance.
func (h *Harbor) preheats(instance int) bool {
	return slices.ContainsFunc(h.db.projects, func(p *project) bool {
		return slices.ContainsFunc(p.preheats, func(o *preheatPolicy) bool { return o.Provider == instance })
	})
}

func (h *Harbor) deletePreheatInstance(c *apiCall) error {
	i, err := h.preheaterOf(c)
	switch {
	case err != nil:
		return err
	case h.preheats(i.ID):
		return precondition("Provider [%s] cannot be deleted as some preheat policies are using it", i.Name)
	}
	h.db.preheaters = slices.DeleteFunc(h.db.preheaters, func(o *preheatInstance) bool { return o == i })
	return nil
}

// pingPreheatInstance asks an instance that is there (by its number), or would be.
func (h *Harbor) pingPreheatInstance(c *apiCall) error {
	var i preheatInstance
	if err := c.read("instance", &i); err != nil {
		return err
	}
	if i.ID > 0 {
		h.db.mu.Lock()
		known := h.db.preheater(func(o *preheatInstance) bool { return o.ID == i.ID })
		if known != nil {
			i = *known
		}
		h.db.mu.Unlock()
		if known == nil {
			c.status = http.StatusNotFound
			return nil
		}
	} else if i.Endpoint == "" {
		c.status = http.StatusBadRequest
		return nil
	}
	if err := i.health(c.r.Context()); err != nil {
		return broken()
	}
	return nil
}
