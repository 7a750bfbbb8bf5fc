package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

const indexType = "application/vnd.oci.image.index.v1+json"

// load is what clients do while edges are started again: what fails is kept.
type load struct {
	t    *testing.T
	stop atomic.Bool
	all  sync.WaitGroup

	mu     sync.Mutex
	done   map[string]int // by what was done
	failed []string
}

// again does something until the load ends, and counts it.
func (l *load) again(what string, do func(i int) error) {
	l.all.Go(func() {
		for i := 0; !l.stop.Load(); i++ {
			err := do(i)
			l.mu.Lock()
			if l.done[what]++; err != nil {
				l.failed = append(l.failed, what+": "+err.Error())
			}
			l.mu.Unlock()
		}
	})
}

// more waits until each of all has been done some more times.
func (l *load) more(times int) {
	l.t.Helper()
	count := func() map[string]int {
		l.mu.Lock()
		defer l.mu.Unlock()
		now := map[string]int{}
		for what, n := range l.done {
			now[what] = n
		}
		return now
	}
	before := count()
	trial.Until(l.t, func() error {
		for what, n := range count() {
			if n < before[what]+times {
				return fmt.Errorf("%s was done %d times", what, n-before[what])
			}
		}
		return nil
	})
}

// asks sends a request, and again while nobody listens: a client goes to another address then.
// An edge that is slow to hear from its peers, as on a busy machine, says so, and is asked again
// five times as by any client.
func asks(ctx context.Context, method, url, authorization, body string) (status int, answer string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for busy := 0; ; {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		req.Header.Set("Authorization", authorization)
		req.Header.Set("Accept", indexType)
		if body != "" {
			req.Header.Set("Content-Type", indexType)
		}
		resp, err := client.Do(req)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) { // it was closed before anybody took it
			continue
		}
		if err != nil {
			return 0, "", err
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if busy++; resp.StatusCode == http.StatusServiceUnavailable && busy < 5 {
			continue
		}
		return resp.StatusCode, string(data), err
	}
}

func basicOf(h *lab.Harbor) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(h.Admin())
	return req.Header.Get("Authorization")
}

// pushes puts a tag through an edge.
func (d *node) pushes(ctx context.Context, tag, note string) error {
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"note":%q}}`, indexType, note)
	status, answer, err := asks(ctx, http.MethodPut, "http://"+d.address+"/v2/multi-dc-demo/app/manifests/"+tag, basicOf(d.harbor), index)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("status %d %s", status, answer)
	}
	return err
}

// pulls gets a tag through an edge, with a token that the edge gives.
func (d *node) pulls(ctx context.Context, tag string) (string, error) {
	status, answer, err := asks(ctx, http.MethodGet, "http://"+d.address+"/service/token?service=harbor-registry&scope=repository:multi-dc-demo/app:pull", basicOf(d.harbor), "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("a token: status %d %s", status, answer)
	}
	if err != nil {
		return "", err
	}
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(answer), &body); err != nil {
		return "", err
	}
	status, answer, err = asks(ctx, http.MethodGet, "http://"+d.address+"/v2/multi-dc-demo/app/manifests/"+tag, "Bearer "+body.Token, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d %s", status, answer)
	}
	return answer, err
}

// refusals are the lines of an edge's log that say that it has refused a peer, or was refused.
func (d *node) refusals() (all []string) {
	for line := range strings.SplitSeq(d.log.String(), "\n") {
		if strings.Contains(line, `"endpoint":"peer"`) && strings.Contains(line, `"status":403`) || strings.Contains(line, `"msg":"peer"`) && !strings.Contains(line, `"state":"ok"`) && !strings.Contains(line, `"state":"unreachable"`) {
			all = append(all, d.name+": "+line)
		}
	}
	return all
}

// rotating are three datacenters whose edges share a key that is replaced. The Harbor of the
// third is down.
type rotating struct {
	*nodes
	dir string
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	keys, files := signingKeys(t)
	r := &rotating{newNodes(t, lab.HarborConfig{Key: keys[0]}, "par1", "mad1", "drp1"), t.TempDir()}
	r.file = fmt.Sprintf("harbor: { token_certificates: [\"file:%s/token.pem\"] }\n", r.dir)
	secrets := map[string][]byte{"token.pem": files[0], "first": []byte(firstKey), "second": []byte(secondKey), "third": []byte("and one that comes after both of these")}
	for name, text := range secrets {
		if err := os.WriteFile(filepath.Join(r.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range r.all {
		r.restart(t, i, "first", "")
	}
	for _, d := range r.all[:2] {
		if err := d.pushes(t.Context(), "base", "base"); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range r.all { // projects are known
		trial.Until(t, func() error {
			_, err := d.pulls(t.Context(), "base")
			return err
		})
	}
	if err := r.all[2].harbor.SetFaults(lab.Fault{Name: "down"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// restart starts an edge again with a key, and the one of before, "" for none.
func (r *rotating) restart(t *testing.T, i int, key, previous string) {
	t.Helper()
	if previous != "" {
		previous = fmt.Sprintf(", previous_key: \"file:%s/%s\"", r.dir, previous)
	}
	r.start(t, r.all[i], fmt.Sprintf("plain_http: true\n  peers: { key: \"file:%s/%s\"%s }", r.dir, key, previous), nil)
}

// The key is replaced at three edges, one at a time and in any order, while the Harbor of one of
// them is down: its clients get tokens and content from the others, and pushes are announced.
// No edge refuses another, and nothing fails.
func TestAKeyIsReplacedUnderLoad(t *testing.T) {
	t.Parallel() // edges start and stop most of the time
	r, ctx := newRotating(t), t.Context()
	par1, mad1, drp1 := r.all[0], r.all[1], r.all[2]
	l := &load{t: t, done: map[string]int{}}
	for range 2 {
		l.again("pulls by way of a peer", func(int) error {
			_, err := drp1.pulls(ctx, "base")
			return err
		})
	}
	for _, d := range []*node{par1, mad1} {
		l.again("pushes at "+d.name, func(i int) error { return d.pushes(ctx, d.name, fmt.Sprint(d.name, " ", i)) })
	}
	l.more(5)
	for _, step := range []struct {
		order         []int
		key, previous string
	}{{[]int{0, 1, 2}, "second", "first"}, {[]int{2, 0, 1}, "second", ""}, {[]int{1, 2, 0}, "third", "second"}, {[]int{2, 1, 0}, "third", ""}} {
		for _, i := range step.order {
			r.restart(t, i, step.key, step.previous)
			l.more(3)
		}
	}
	l.stop.Store(true)
	l.all.Wait()
	for _, d := range r.all {
		l.failed = append(l.failed, d.refusals()...)
	}
	if len(l.failed) > 0 {
		t.Errorf("%d failed of %v:\n%s", len(l.failed), l.done, strings.Join(l.failed[:min(10, len(l.failed))], "\n"))
	}
	for _, d := range []*node{par1, mad1} { // what was announced while keys changed
		status, want, err := asks(ctx, http.MethodGet, "http://"+d.address+"/v2/multi-dc-demo/app/manifests/"+d.name, basicOf(d.harbor), "")
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s %v", d.name, status, want, err)
		}
		trial.Until(t, func() error {
			got, err := drp1.pulls(ctx, d.name)
			if err == nil && got != want {
				err = fmt.Errorf("drp1 has %s of %s, which has %s", got, d.name, want)
			}
			return err
		})
	}
}
