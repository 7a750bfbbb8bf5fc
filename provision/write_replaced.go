package provision

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/replication"
)

// patienceOfReplaced is how long a replication that goes is waited for while it runs, and
// settling how long nobody is refused after the last of them: an event may have begun one
// that Harbor has not yet noted down.
const (
	patienceOfReplaced = 15 * time.Minute
	settling           = 5 * time.Second
)

// replacePolicy removes a replication that others have taken the place of, which is seen
// before. It is disabled and what runs of it ends by itself: what that copies is in no
// other execution.
func (w *writer) replacePolicy(ctx context.Context, id int64) error {
	for _, c := range w.change.proves {
		if err := w.run.covers(ctx, c); err != nil {
			return err
		}
	}
	if err := w.putOver(ctx, fmt.Sprintf("%s/%d", policiesPath, id), map[string]any{"enabled": false}); err != nil {
		return fmt.Errorf("disable it: %w", plain(err))
	}
	within, cancel := context.WithTimeout(ctx, patienceOfReplaced)
	defer cancel()
	waiting := sync.OnceFunc(func() {
		if w.waiting != nil {
			w.waiting(fmt.Sprintf("waiting for %s: it runs; it goes once that has ended, in up to %v", w.change.Key, patienceOfReplaced))
		}
	})
	for {
		if err := w.idle(within, id, time.Now(), waiting); err != nil {
			return halfDone{fmt.Errorf("it is disabled, and still runs: the next run removes it (%w)", err)}
		}
		_, err := w.api.Replication.DeleteReplicationPolicy(ctx, replication.NewDeleteReplicationPolicyParams().WithID(id))
		if !isCode(err, http.StatusPreconditionFailed) {
			w.run.removed()
			return err
		}
		select { // another one has begun
		case <-within.Done():
		case <-time.After(pollEvery):
		}
	}
}

// removed notes that a replication has gone just now.
func (r *run) removed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
}

// settle waits until what the last replication that went has begun is known to have ended.
func (r *run) settle(ctx context.Context) error {
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	if last.IsZero() {
		return nil
	}
	select {
	case <-time.After(cmp.Or(r.settling, settling) - time.Since(last)):
		return nil
	case <-ctx.Done():
		return unsent{context.Cause(ctx)}
	}
}

// covers is an error where a robot cannot see, pull and push in a project: replications as
// it skip the project, and say Succeed. It is asked once for each of them in a run.
func (r *run) covers(ctx context.Context, c covering) error {
	r.mu.Lock()
	ask := r.covered[c]
	if ask == nil {
		ask = sync.OnceValue(func() error {
			return r.harbors[c.robot.Datacenter].reachesProject(ctx, r.plan.have[c.robot.Datacenter].prefix+c.robot.Name, r.plan.want.secrets[c.robot], c.project)
		})
		r.covered[c] = ask
	}
	r.mu.Unlock()
	if err := ask(); err != nil {
		return fmt.Errorf("%s does not replicate %s yet: %w", c.robot, c.project, err)
	}
	return nil
}

// reachesProject is an error where an account may not do in a project what replication
// takes: list it, which decides whether Harbor pulls it, pull and push.
func (h *harbor) reachesProject(ctx context.Context, user, secret, project string) error {
	if err := h.slot(ctx); err != nil {
		return err
	}
	defer h.free()
	as := func(req *http.Request) { req.SetBasicAuth(user, secret) }
	resp, err := h.ask(ctx, http.MethodGet, "/api/v2.0/projects/"+project+"/repositories?page_size=1", as)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return said{"listing its repositories as this robot is answered " + resp.Status, resp.StatusCode}
	}
	h.proofs.Add(1)
	scope := url.Values{"service": {"harbor-registry"}, "scope": {"repository:" + project + "/" + canaryRepo + ":pull,push"}}
	if resp, err = h.ask(ctx, http.MethodGet, "/service/token?"+scope.Encode(), as); err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return said{"the token service answers " + resp.Status, resp.StatusCode}
	}
	may, err := granted(answer)
	if err == nil && (!slices.Contains(may, "pull") || !slices.Contains(may, "push")) {
		err = errors.New("this robot may not pull and push there")
	}
	return err
}

// granted are the actions that a token is for. Who signed it does not matter: it is asked
// of Harbor itself, and gives nobody anything here.
func granted(answer []byte) (actions []string, err error) {
	var got struct{ Token string }
	var claims struct {
		Access []struct{ Actions []string }
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, err
	}
	parts := strings.Split(got.Token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token service gives no token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(text, &claims)
	for _, a := range claims.Access {
		actions = append(actions, a.Actions...)
	}
	return actions, err
}

// projectsOf lists the projects that an account is shown, as a Harbor that pulls does.
func (h *harbor) projectsOf(ctx context.Context, user, secret string) (names []string, err error) {
	if err := h.slot(ctx); err != nil {
		return nil, err
	}
	defer h.free()
	return pages(func(page int64) (some []string, err error) {
		path := fmt.Sprintf("/api/v2.0/projects?page=%d&page_size=%d", page, pageSize)
		resp, err := h.ask(ctx, http.MethodGet, path, func(req *http.Request) { req.SetBasicAuth(user, secret) })
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, said{"this Harbor answers " + resp.Status, resp.StatusCode}
		}
		var all []struct{ Name string }
		if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
			return nil, err
		}
		for _, p := range all {
			some = append(some, p.Name)
		}
		return some, nil
	})
}
