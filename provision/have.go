package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	clientregistry "github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"golang.org/x/sync/errgroup"
)

const pageSize = 100 // the most that Harbor gives

// entry is an object that a Harbor has.
type entry struct {
	object
	id     int64
	secret proof
	whyNot string // secret is unproven because of this
	broken bool   // a retention that the project names and that is not there
}

// proof says what is known of a secret that Harbor holds.
type proof int

const (
	unproven proof = iota // it was not tried, or could not be
	proven                // it is the fleet file's
	differs               // it is another one
)

// having is what one Harbor has.
type having struct {
	datacenter string
	prefix     string // of robots' names
	account    string // that has read it
	version    string // as v2.15.2-080b0220; "": this account is not told
	silent     bool   // it sends no webhooks at all
	noPreheat  int    // status of the answer why its preheat instances are not known: 403, or 404 where it has none of this; 0: they are
	preheats   preheatUses
	shallow    bool // only what is wanted of its projects was read
	mu         sync.Mutex
	entries    map[Key]*entry
	quotas     map[string]quotaOf  // by project
	unsaid     map[string][]string // of projects, what no fleet file says
}

type quotaOf struct{ id, hard int64 }

func (h *having) put(kind, name string, e *entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries[Key{h.datacenter, kind, name}] = e
}

func (h *having) get(kind, name string) *entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[Key{h.datacenter, kind, name}]
}

// pages calls get for page after page until one is not full.
func pages[T any](get func(page int64) ([]T, error)) (all []T, err error) {
	for page := int64(1); ; page++ {
		got, err := get(page)
		if err != nil {
			return nil, err
		}
		if all = append(all, got...); len(got) < pageSize {
			return all, nil
		}
	}
}

func ptr[T any](v T) *T { return &v }

// saidBool is a choice as text; "" where none is made.
func saidBool(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Harbor's versions whose API this was written and tried for.
const oldest, newest = 9, 15

// outside says that the Harbor's version is not one that this was written for.
func (h *having) outside() string {
	var major, minor int
	if n, _ := fmt.Sscanf(h.version, "v%d.%d", &major, &minor); n != 2 || major == 2 && minor >= oldest && minor <= newest {
		return ""
	}
	return fmt.Sprintf("%s: its Harbor is %s, and breakwater was tried with v2.%d to v2.%d: look at the plan twice", h.datacenter, h.version, oldest, newest)
}

// oidcKeys are the keys of the configuration that a fleet file may set.
var oidcKeys = []string{"auth_mode", "oidc_name", "oidc_endpoint", "oidc_client_id", "oidc_scope", "oidc_user_claim", "oidc_auto_onboard", "oidc_verify_cert", "oidc_groups_claim", "oidc_admin_group"}

// settingKeys are those of harbor.settings.
var settingKeys = []string{"project_creation_restriction", "token_expiration", "session_timeout"}

func configurationOf(c *models.ConfigurationsResponse, keys []string) (configuration, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var items map[string]struct{ Value any }
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, err
	}
	have := configuration{}
	for _, k := range keys {
		have[k] = ""
		if v := items[k].Value; v != nil {
			have[k] = fmt.Sprint(v)
		}
	}
	return have, nil
}

// prove tries the secrets of what is there: robots log in, registries are
// pinged, webhooks show it.
func (h *harbor) prove(ctx context.Context, have *having, want *wanted) error {
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	var here []Key // the secrets of a large fleet are many, and each Harbor has its own few
	for k := range want.secrets {
		if k.Datacenter == have.datacenter && have.get(k.Kind, k.Name) != nil {
			here = append(here, k)
		}
	}
	slices.SortFunc(here, Key.compare)
	for _, k := range here {
		e := have.get(k.Kind, k.Name)
		switch k.Kind {
		case kindRobot:
			if e.object.(*robot).disabled {
				continue // it logs in once it is enabled, and is proven then
			}
			g.Go(func() error {
				ok, err := h.proves(all, have.prefix+k.Name, want.secrets[k])
				e.found(ok, err)
				return nil
			})
		case kindWebhook: // Harbor shows it to administrators
			e.found(e.object.(*webhook).bears(want.secrets[k]), nil)
		case kindRegistry:
			g.Go(func() error {
				e.found(h.pings(all, e, want.objects[k].(*registry), want.secrets[k]))
				return nil
			})
		}
	}
	return g.Wait()
}

const noAnswerFrom = "this Harbor got no answer from "

// pings reports whether the registry is reached with the login that Harbor has stored. One
// of which no answer came is not asked again, nor are others at its address.
func (h *harbor) pings(ctx context.Context, e *entry, ours *registry, secret string) (bool, error) {
	address := e.object.(*registry).url
	if why, deaf := h.deaf.Load(address); deaf {
		return false, errors.New(why.(string))
	}
	ping := func(m *models.RegistryPing) error {
		h.proofs.Add(1)
		_, err := h.api.Registry.PingRegistry(ctx, clientregistry.NewPingRegistryParams().WithRegistry(m))
		if errors.As(err, new(silent)) {
			h.deaf.Store(address, noAnswerFrom+address+" before")
		}
		return err
	}
	if err := ping(&models.RegistryPing{ID: &e.id}); !isCode(err, 400) {
		return true, err
	}
	// It refuses the login that is stored, or is away: with ours it can be told.
	return false, ping(&models.RegistryPing{ID: &e.id, AccessKey: &ours.user, AccessSecret: &secret})
}

func (e *entry) found(ok bool, err error) {
	switch {
	case err != nil:
		e.whyNot = plain(err).Error()
	case ok:
		e.secret = proven
	default:
		e.secret = differs
	}
}
