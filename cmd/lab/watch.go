package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// observation is what a client saw once.
type observation struct {
	Time         time.Time `json:"time"`
	Datacenter   string    `json:"datacenter"`
	What         string    `json:"what"` // pull, push
	OK           bool      `json:"ok"`
	Result       string    `json:"result"`
	From         string    `json:"from"` // whose content it was, who took it
	Milliseconds int64     `json:"milliseconds"`
}

// tally sums up what clients of a datacenter saw.
type tally struct {
	Datacenter string `json:"datacenter"`
	What       string `json:"what"`
	Times      int    `json:"times"`
	Failed     int    `json:"failed"`
	Slowest    int64  `json:"slowest_milliseconds"`
}

// How often clients pull and push while they are watched, and for how long they wait: longer
// than an edge does for a source that says nothing.
const (
	pullEvery = 500 * time.Millisecond
	pushEvery = 2 * time.Second
	patience  = 20 * time.Second
	unheard   = time.Second // what takes longer when the watching ends is shown
)

// The image that clients pull, and where they push: a repo of its own each time, as an edge goes on
// for a while with a repo's pushes where the last one went.
const (
	pulledRepo = "multi-dc-demo/app"
	pushedRepo = "multi-dc-demo/watched/"
)

// watch shows what clients of each datacenter see until the time is over or ctx ends.
func watch(ctx context.Context, r *report, lasting time.Duration, out *screen) error {
	ctx, stop := context.WithTimeout(ctx, lasting)
	defer stop()
	seen := make(chan observation)
	var clients sync.WaitGroup
	for _, d := range r.Datacenters {
		w := &watcher{datacenter: d.Name, edge: d.Edge, robot: r.Robots[len(r.Robots)-1]}
		clients.Go(func() {
			w.repeat(ctx, seen, "pull", pullEvery, func() (string, error) { return w.pull(ctx, pulledRepo) })
		})
		clients.Go(func() {
			w.repeat(ctx, seen, "push", pushEvery, func() (string, error) {
				return w.push(ctx, pushedRepo+d.Name+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
			})
		})
	}
	go func() {
		clients.Wait()
		close(seen)
	}()
	last, sums := map[[2]string]observation{}, map[[2]string]*tally{}
	for o := range seen {
		key := [2]string{o.Datacenter, o.What}
		before, known := last[key]
		if o.From == fromStore && before.OK { // believed for some seconds, whoever it was from
			o.From = before.From
		}
		if last[key] = o; !known || o.Result != before.Result || anyPeer(o.From) != anyPeer(before.From) {
			out.change(o)
		}
		add(sums, key, o)
	}
	var all []tally
	for _, t := range sums {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b tally) int {
		return cmp.Or(strings.Compare(a.Datacenter, b.Datacenter), strings.Compare(a.What, b.What))
	})
	out.summary(all)
	return nil
}

var peerName = regexp.MustCompile(`peer-\w+`)

// anyPeer is whom content is from but for which of the peers: they take turns.
func anyPeer(from string) string { return peerName.ReplaceAllString(from, "peer") }

func add(sums map[[2]string]*tally, key [2]string, o observation) {
	t := sums[key]
	if t == nil {
		t = &tally{Datacenter: o.Datacenter, What: o.What}
		sums[key] = t
	}
	t.Times++
	t.Slowest = max(t.Slowest, o.Milliseconds)
	if !o.OK {
		t.Failed++
	}
}

// watcher is a client of one datacenter.
type watcher struct {
	datacenter, edge string
	robot            robotReport
}

// repeat has the client do the same again and again.
func (w *watcher) repeat(ctx context.Context, seen chan<- observation, what string, every time.Duration, do func() (from string, err error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		begun := time.Now()
		from, err := do()
		took := time.Since(begun)
		o := observation{Time: begun, Datacenter: w.datacenter, What: what, OK: err == nil, Result: "well", From: from, Milliseconds: took.Milliseconds()}
		var refused syscall.Errno
		switch {
		case err != nil && ctx.Err() != nil: // nobody waits for it any longer
			if took < unheard {
				return
			}
			o.Result = fmt.Sprintf("no answer yet after %v", took.Round(time.Second))
		case errors.As(err, &refused):
			o.Result = refused.Error() // without the address, which the table has
		case err != nil:
			o.Result = err.Error()
		}
		seen <- o
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// pull gets a token and the manifest of a tag, as clients do that have the layers.
func (w *watcher) pull(ctx context.Context, repo string) (string, error) {
	s, err := w.login(ctx, repo, "pull")
	if err != nil {
		return "", err
	}
	header, err := s.ask(ctx, http.MethodGet, "/v2/"+repo+"/manifests/v1", "", nil, http.StatusOK)
	return from(header), err
}

// push pushes an image of next to nothing.
func (w *watcher) push(ctx context.Context, repo string) (from string, err error) {
	_, from, err = w.pushText(ctx, repo, repo)
	return from, err
}

// pushText pushes an image of next to nothing under v1, another one for each text.
func (w *watcher) pushText(ctx context.Context, repo, text string) (d digest.Digest, by string, err error) {
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"text":%q}}}`, text)
	s, err := w.login(ctx, repo, "pull,push")
	if err != nil {
		return "", "", err
	}
	header, err := s.ask(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return "", from(header), err
	}
	location := strings.TrimPrefix(header.Get("Location"), w.edge)
	if header, err = s.ask(ctx, http.MethodPut, location+"&digest="+digest.FromBytes(config).String(), "application/octet-stream", config, http.StatusCreated); err != nil {
		return "", from(header), err
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
		ociManifest, digest.FromBytes(config), len(config))
	header, err = s.ask(ctx, http.MethodPut, "/v2/"+repo+"/manifests/v1", ociManifest, manifest, http.StatusCreated)
	return digest.FromBytes(manifest), from(header), err
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// session is a client with a token, which it asks for anew each time, as commands do.
type session struct{ edge, token string }

func (w *watcher) login(ctx context.Context, repo, actions string) (*session, error) {
	query := url.Values{"service": {"harbor-registry"}, "scope": {"repository:" + repo + ":" + actions}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.edge+"/service/token?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(w.robot.Name, w.robot.Secret)
	_, body, err := send(req, http.StatusOK)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	var answer struct{ Token string }
	err = json.Unmarshal(body, &answer)
	return &session{w.edge, answer.Token}, err
}

// request is one of the session's, yet to be sent.
func (s *session) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.edge+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", ociManifest)
	return req, nil
}

func (s *session) ask(ctx context.Context, method, path, contentType string, body []byte, want int) (http.Header, error) {
	req, err := s.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	header, _, err := send(req, want)
	return header, err
}

// send sends a request over a connection of its own.
func send(req *http.Request, want int) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	defer cancel()
	req = req.WithContext(ctx)
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, nil, fmt.Errorf("no answer in %v", patience)
	case err != nil:
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != want {
		err = errors.New(resp.Status)
	}
	return resp.Header, body, err
}

const fromStore = "store"

// from reads Cache-Status: whose content it was, or who took it.
func from(header http.Header) string {
	params := map[string]string{}
	for part := range strings.SplitSeq(header.Get("Cache-Status"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		params[name] = value
	}
	_, hit := params["hit"]
	switch detail := params["detail"]; {
	case hit && detail == "":
		return fromStore
	case hit:
		return fromStore + ", " + strings.ReplaceAll(detail, "-", " ")
	case params["fwd"] == "stale":
		return fromStore + ", as " + detail + " says"
	default:
		return detail
	}
}
