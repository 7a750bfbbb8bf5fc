package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/crypto/bcrypt"

	"example.org/breakwater/cmd/internal/login"
)

// TestTheConsoleInABrowser: each page is as it should be while all is well and while a datacenter
// is dead, at two widths, light and dark.
func TestTheConsoleInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	b, f := newBrowser(t), startLab(t)
	output(t, exec.Command(bin(t, "breakwater"), "provision", "apply", "--yes", "--config", f.Datacenters[0].Fleet)) // for the page of changes
	console := f.Datacenters[0].Admin + "/console/"
	pages := b.pages(console)
	if len(pages) < 3 {
		t.Fatalf("the console has the pages %v", pages)
	}
	b.look("well", console, pages)
	t.Run("login", func(t *testing.T) { b.login(t, console) })
	for _, broken := range [][]string{{"harbor", f.Datacenters[1].Name}, {"edge", f.Datacenters[1].Name}} {
		output(t, exec.Command(bin(t, "lab"), "break", broken[0], broken[1], "--lab", f.Dir, "--for", "0"))
	}
	b.look("dead", console, pages)
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

// pages are those of the navigation, with what makes some show something.
func (b *browser) pages(console string) (pages []string) {
	b.t.Helper()
	b.do(chromedp.Navigate(console))
	b.ask(`[...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))`, &pages)
	for i, page := range pages {
		switch page {
		case "image":
			pages[i] += "?ref=cache-dockerhub/library/hello:latest"
		case "client":
			pages[i] += "?client=10.2.2.3"
		}
	}
	return pages
}

func (b *browser) look(state, console string, pages []string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.as(width, scheme)
			for _, page := range pages {
				word, _, _ := strings.Cut(page, "?")
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
