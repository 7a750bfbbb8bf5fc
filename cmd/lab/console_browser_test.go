package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"example.org/breakwater/cmd/internal/login"
	"example.org/breakwater/internal/trial"
)

// consoleNavigation is what leads to all pages of the console, in its order.
var consoleNavigation = []string{"fleet", "traffic", "image", "client", "content", "fills", "changes"}

// TestTheConsoleInABrowser: each page is as it should be while all is well and while a datacenter
// is dead, at two widths, light and dark.
func TestTheConsoleInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	b, f := newBrowser(t), startLab(t)
	output(t, exec.Command(bin(t, "breakwater"), "provision", "apply", "--yes", "--config", f.Datacenters[0].Fleet)) // for the page of changes
	f.isBusy(t)
	console := f.Datacenters[0].Admin + "/console/"
	ofFleet, ofEdge := b.pages(console)
	b.look("well", console, ofFleet)
	par1, mad1, drp1 := f.Datacenters[0].Name, f.Datacenters[1].Name, f.Datacenters[2].Name
	f.act(t, "partition", mad1, drp1, "--for", "0") // edges need some seconds to see that
	b.look("well", console, ofEdge)
	t.Run("login", func(t *testing.T) { b.login(t, console) })
	b.do(chromedp.Navigate("about:blank")) // the door is closed, and its page would be refreshed
	trial.Until(t, func() error {
		if page := look(t, console).body; !strings.Contains(page, `class="way wrong"><title>`+mad1+" to "+drp1) || strings.Contains(page, `class="node wrong"`) {
			return fmt.Errorf("no broken way between edges that live in\n%s", page)
		}
		return nil
	})
	b.look("parted", console, []string{"fleet"})
	f.act(t, "break", "harbor", mad1, "--for", "0")
	f.act(t, "break", "edge", mad1, "--for", "0")
	pages := append(ofFleet, ofEdge...)
	b.look("dead", console, pages)
	b.shows(console, map[string]string{
		"fleet":   `document.querySelector(".way.wrong circle") && [...document.querySelectorAll(".node.ok .name")].some(e => e.textContent === "` + par1 + `")`,
		"traffic": `document.querySelectorAll("polyline").length === 6 && document.querySelectorAll("tbody")[1].rows.length > 2`,
		"fills": `document.querySelector("progress[value]")?.position > 0 && document.querySelector("progress:not([value])") !== null &&
			[...document.querySelectorAll("td[data-label=From]")].every(e => /harbor/.test(e.textContent)) && [...document.querySelectorAll("td[data-label=Rate]")].every(e => /^[1-9].*B\/s/.test(e.textContent))`,
		"content?repo=" + pulledRepo: `document.querySelectorAll("tbody tr").length > 0 && document.querySelector("td[data-label=` + par1 + `] code") !== null`,
	})
	for _, page := range pages {
		var took float64 // in ms; the machine may have something else to do
		for range 5 {
			b.do(chromedp.Navigate(console + page))
			if b.ask(`performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd`, &took); took < 1000 {
				break
			}
		}
		t.Logf("with a dead datacenter %s is there after %.0f ms", page, took)
		if took >= 1000 {
			t.Errorf("with a dead datacenter %s takes %.0f ms", page, took)
		}
	}
}

// isBusy has clients pull and push, and two wait for blobs that come slowly until the test ends: one
// that Harbor has, and one that it streams from its upstream, without a length.
func (f *fleetUnderTest) isBusy(t *testing.T) {
	t.Helper()
	par1 := f.Datacenters[0]
	for _, source := range []string{par1.Faults, f.Upstreams[0].Faults} {
		fault(t, source, `[{"name":"slow","path":"^GET .*/blobs/","bytes":3000}]`) // of 1 MiB at least
	}
	client := watcher{par1.Name, par1.Edge, f.Robots[1]}
	own, err := client.login(t.Context(), pulledRepo, "pull")
	if err != nil {
		t.Fatal(err)
	}
	own.waitForABlob(t, pulledRepo, "v1")
	const big = "cache-dockerhub/library/big"
	(&session{par1.Edge, anonymousToken(t, par1.Edge, big)}).waitForABlob(t, big, "latest")
	for _, d := range f.Datacenters[:2] {
		client := watcher{d.Name, d.Edge, f.Robots[1]}
		_, err := client.push(t.Context(), pulledRepo)
		for range 3 {
			_, again := client.pull(t.Context(), pulledRepo)
			err = errors.Join(err, again)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// waitForABlob reads the last layer of an image, which may take longer than the test.
func (s *session) waitForABlob(t *testing.T, repo, tag string) {
	t.Helper()
	var manifest v1.Manifest
	req, err := s.request(t.Context(), http.MethodGet, "/v2/"+repo+"/manifests/"+tag, nil)
	if err == nil {
		var body []byte
		_, body, err = send(req, http.StatusOK)
		err = errors.Join(err, json.Unmarshal(body, &manifest))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err = s.request(ctx, http.MethodGet, "/v2/"+repo+"/blobs/"+manifest.Layers[len(manifest.Layers)-1].Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // the test ends first
			resp.Body.Close()
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// pages are those of the navigation, with what makes some show something: those that are of the whole
// fleet, and those of the edge alone.
func (b *browser) pages(console string) (ofFleet, ofEdge []string) {
	b.t.Helper()
	var pages []string
	b.do(chromedp.Navigate(console))
	b.ask(`[...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))`, &pages)
	if !slices.Equal(pages, consoleNavigation) {
		b.t.Fatalf("the console has the pages %v; want %v", pages, consoleNavigation)
	}
	return []string{"fleet", "image?ref=cache-dockerhub/library/hello:latest", "client?client=10.2.2.3", "content", "content?repo=" + pulledRepo}, []string{"traffic", "fills", "changes"}
}

// shows wants each page to show what a script finds on it.
func (b *browser) shows(console string, scripts map[string]string) {
	b.t.Helper()
	for page, script := range scripts {
		var found bool
		b.do(chromedp.Navigate(console + page))
		if b.ask("Boolean("+script+")", &found); !found {
			var text string
			b.ask(`document.querySelector("main").innerText`, &text)
			b.t.Errorf("%s does not show it: %s\n%s", page, script, text)
		}
	}
}

func (b *browser) look(state, console string, pages []string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.as(width, scheme)
			for _, page := range pages {
				word, query, _ := strings.Cut(page, "?")
				if strings.HasPrefix(query, "repo=") {
					word += "-repo"
				}
				name := fmt.Sprintf("%s-%s-%d-%s", word, state, width, scheme)
				b.do(chromedp.Navigate(console + page))
				b.judge(name)
				if scheme == "light" && width == 1280 {
					b.keyboard(name)
				}
			}
		}
	}
}

// login: who is not logged in is led to the form, and from there to the page that was wanted.
func (b *browser) login(t *testing.T, console string) {
	to, err := url.Parse(console)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("lovelace"), bcrypt.MinCost)
	users := filepath.Join(t.TempDir(), "users")
	if err != nil || os.WriteFile(users, []byte("ada:"+string(hash)+"\n"), 0o600) != nil {
		t.Fatal(err)
	}
	guard, err := login.New(login.Config{Domain: domain, Users: users, OIDC: &login.OIDC{Name: "keycloak", Issuer: "http://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)},
		&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	if err != nil {
		t.Fatal(err)
	}
	door := httptest.NewServer(guard)
	defer door.Close()
	var at string
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.as(width, scheme)
			b.do(chromedp.Navigate(door.URL+"/fleet"), chromedp.Location(&at))
			if !strings.HasPrefix(at, door.URL+"/login?") {
				t.Fatalf("without a login there is %s", at)
			}
			b.judge(fmt.Sprintf("login-%d-%s", width, scheme))
		}
	}
	b.keyboard("login")
	b.do(chromedp.SendKeys("#user", "ada"), chromedp.SendKeys("#password", "lovelace\r"), chromedp.WaitVisible("nav"), chromedp.Location(&at))
	if at != door.URL+"/fleet" {
		t.Errorf("after the login there is %s", at)
	}
	b.judge("fleet-behind-the-login")
	resp, err := http.Get(door.URL + "/fleet")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the cookie: %s", resp.Status)
	}
}
