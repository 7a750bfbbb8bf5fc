package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/internal/trial"
)

// rereadEdge is an edge of the built program, whose files a test changes.
type rereadEdge struct {
	t       *testing.T
	dir     string // with fleet.yaml and its secrets
	process *os.Process

	mu  sync.Mutex
	log strings.Builder
}

// said is the log so far.
func (e *rereadEdge) said() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.String()
}

// startReread starts the edge of a datacenter on a fleet file.
func startReread(t *testing.T, datacenter, text string, secrets map[string]string) *rereadEdge {
	t.Helper()
	e := &rereadEdge{t: t, dir: t.TempDir()}
	e.write(secrets)
	e.write(map[string]string{"fleet.yaml": strings.ReplaceAll(text, "DIR", e.dir)})
	cmd := exec.Command(bin(t, "breakwater"), "edge", "--config", filepath.Join(e.dir, "fleet.yaml"), "--datacenter", datacenter, "--drain", "0s")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.process = cmd.Process
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			e.mu.Lock()
			e.log.WriteString(lines.Text() + "\n")
			e.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("the edge of %s ends: %v", datacenter, err)
		}
		if t.Failed() {
			t.Logf("the edge of %s:\n%s", datacenter, e.said())
		}
	})
	e.until("it listens", func() bool { return e.address("admin") != "" })
	return e
}

func (e *rereadEdge) until(what string, is func() bool) {
	e.t.Helper()
	trial.Until(e.t, func() error {
		if !is() {
			return errors.New("not so: " + what)
		}
		return nil
	})
}

// address is where a listener is, from the log; "" before it is there.
func (e *rereadEdge) address(listener string) string {
	_, after, _ := strings.Cut(e.said(), `"msg":"listening","listener":"`+listener+`","address":"`)
	address, _, _ := strings.Cut(after, `"`)
	return address
}

func (e *rereadEdge) write(files map[string]string) {
	e.t.Helper()
	for name, text := range files {
		path := filepath.Join(e.dir, name)
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			e.t.Fatal(err)
		}
	}
}

// edit changes the fleet file.
func (e *rereadEdge) edit(old, new string) {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "fleet.yaml"))
	if err != nil || !strings.Contains(string(text), old) {
		e.t.Fatalf("%v: %q is not in\n%s", err, old, text)
	}
	e.write(map[string]string{"fleet.yaml": strings.Replace(string(text), old, new, 1)})
}

// read has the files read again (SIGHUP), or waits until they are, and returns what the log says of it.
func (e *rereadEdge) read(hangup bool) string {
	e.t.Helper()
	before := e.said()
	if hangup {
		if err := e.process.Signal(syscall.SIGHUP); err != nil {
			e.t.Fatal(err)
		}
	}
	var since string
	e.until("the files are read again", func() bool {
		since = e.said()[len(before):]
		return strings.Contains(since, `"files read again"`) || strings.Contains(since, `"files not taken`)
	})
	return since
}

// taken has the files read again, and wants them taken.
func (e *rereadEdge) taken() {
	e.t.Helper()
	if said := e.read(true); !strings.Contains(said, `"files read again"`) {
		e.t.Fatalf("not taken:\n%s", said)
	}
}

// metric is the value of a series; -1 where there is none.
func (e *rereadEdge) metric(series string) float64 {
	e.t.Helper()
	resp, err := http.Get("http://" + e.address("metrics") + "/metrics")
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				e.t.Fatal(err)
			}
			return n
		}
	}
	return -1
}

// pull pulls an image through the edge, all of it.
func (e *rereadEdge) pull(image string, auth authn.Authenticator) error {
	ref, err := name.ParseReference(e.address("public")+"/"+image, name.Insecure)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remote.WithAuth(auth))
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
		r.Close()
	}
	return nil
}

// pushTo pushes an image of its own to a registry.
func pushTo(t *testing.T, address, image string, auth authn.Authenticator) {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(address, "http://")+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(image), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(auth)); err != nil {
		t.Fatal(err)
	}
}

func adminOf(h *lab.Harbor) authn.Authenticator {
	username, password := h.Admin()
	return authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
}

// giveSecret gives a robot of the system another secret, as its owner does (PATCH /robots/{id}).
func giveSecret(t *testing.T, h *lab.Harbor, robot, secret string) {
	t.Helper()
	call := func(method, path string, body, answer any) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, h.URL()+"/api/v2.0"+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(h.Admin())
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s %v", method, path, resp.Status, err)
		}
	}
	var robots []struct {
		ID   int
		Name string
	}
	call(http.MethodGet, "/robots", nil, &robots)
	at := slices.IndexFunc(robots, func(r struct {
		ID   int
		Name string
	}) bool {
		return r.Name == robot
	})
	if at < 0 {
		t.Fatalf("there is no robot %s among %v", robot, robots)
	}
	call(http.MethodPatch, fmt.Sprintf("/robots/%d", robots[at].ID), map[string]string{"secret": secret}, &struct{}{})
}
