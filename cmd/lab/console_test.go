package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"example.org/breakwater/cmd/internal/asjson"
	"example.org/breakwater/internal/trial"
)

// consolePages are the console's pages, as a browser asks for them: all of the navigation, with and
// without what their forms ask.
var consolePages = []string{"", "fleet", "traffic", "image", "image?ref=multi-dc-demo%2Fapp%3Av1", "client", "client?client=10.1.2.3",
	"content", "content?project=multi-dc-demo&match=app", "content?repo=multi-dc-demo%2Fapp", "fills", "changes"}

// got is an answer of a console.
type got struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

func look(t *testing.T, address string) (g got) {
	t.Helper()
	begun := time.Now()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header, string(body), time.Since(begun)}
}

// prompt looks at a page that is to be there within a second. It looks five times at most, as the
// machine may have something else to do.
func prompt(t *testing.T, address string) (g got) {
	t.Helper()
	for range 5 { // a part of a name is a new one each time: no answer of before stands in for a late one
		if g = look(t, strings.Replace(address, "match=", fmt.Sprint("match=", time.Now().UnixNano()), 1)); g.status == http.StatusOK && g.took < time.Second {
			return g
		}
	}
	t.Errorf("%s: status %d after %v\n%.2000s", address, g.status, g.took, g.body)
	return g
}

// strict looks through a page for what its policy would keep from working, or let in, and
// returns the files that it loads.
func strict(t *testing.T, name string, g got) (files []string) {
	t.Helper()
	policy := g.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("%s: the policy %q lacks %s", name, policy, part)
		}
	}
	for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if is := g.header.Get(header); is != want {
			t.Errorf("%s: %s is %q; want %q", name, header, is, want)
		}
	}
	root, err := html.Parse(strings.NewReader(g.body))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		seen[n.Data]++
		at := map[string]string{}
		for _, a := range n.Attr {
			at[a.Key] = a.Val
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Val, "javascript:") {
				t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
			}
		}
		switch {
		case n.Data == "style", n.Data == "script" && (at["src"] == "" || n.FirstChild != nil):
			t.Errorf("%s: <%s> inline", name, n.Data)
		case n.Data == "script":
			files = append(files, at["src"])
		case n.Data == "link":
			files = append(files, at["href"])
		case n.Data == "th" && at["scope"] == "":
			t.Errorf("%s: a heading of a table without a scope", name)
		}
	}
	if seen["main"] != 1 || seen["h1"] != 1 || seen["nav"] != 1 || seen["table"] != seen["caption"] || len(files) != 3 {
		t.Errorf("%s: elements %v, files %v", name, seen, files)
	}
	return files
}

// The console is read in a browser with a strict policy, weighs little, and says what the
// commands say.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f, program := startLab(t), bin(t, "breakwater")
	console := f.Datacenters[0].Console
	for _, page := range consolePages {
		g := prompt(t, console+page)
		weight := len(g.body)
		for _, file := range strict(t, page, g) {
			asset := look(t, console+file)
			if weight += len(asset.body); asset.status != http.StatusOK || !strings.Contains(asset.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %s: status %d, %q", page, file, asset.status, asset.header.Get("Cache-Control"))
			}
		}
		if weight > 150_000 {
			t.Errorf("%s: %d bytes in all", page, weight)
		}
	}

	client := watcher{f.Datacenters[0].Name, f.Datacenters[0].Edge, f.Robots[1]}
	if _, err := client.pull(t.Context(), pulledRepo); err != nil { // for Traffic and Content
		t.Fatal(err)
	}
	output(t, exec.Command(program, "provision", "apply", "--yes", "--config", f.Datacenters[0].Fleet)) // for Changes
	t.Run("as the commands", func(t *testing.T) { f.saysWhatCommandsSay(t, console, program) })
	t.Run("as status", func(t *testing.T) { f.saysWhatStatusSays(t, console, program) })
}

// clock is what differs from one question for traffic to the next.
var clock = regexp.MustCompile(`"(time|recent_seconds|age_seconds)":[^,]+,`)

// saysWhatCommandsSay: the JSON of a page is what the command prints with --json, byte by byte but
// for spaces and the time.
func (f *fleetUnderTest) saysWhatCommandsSay(t *testing.T, console, program string) {
	admin := []string{"--admin", f.Datacenters[0].Admin}
	for _, c := range []struct {
		page    string
		command []string
		has     string // so that not both are empty
	}{
		{"image?ref=multi-dc-demo/app:v1", append([]string{"explain", "multi-dc-demo/app:v1"}, admin...), `"held":true`},
		{"client?client=10.2.3.4", []string{"gslb", "explain", "--admin", f.Datacenters[0].Steer, "--client", "10.2.3.4"}, `"chosen":true`},
		{"traffic", append([]string{"traffic"}, admin...), `"endpoint":"manifest"`},
		{"fills", append([]string{"fills"}, admin...), `"fills":[]`},
		{"content", append([]string{"content"}, admin...), `"repo":"multi-dc-demo/app"`},
		{"content?project=multi-dc-demo&match=none", append([]string{"content", "--project", "multi-dc-demo", "--match", "none"}, admin...), `"repos":[]`},
		{"content?repo=multi-dc-demo/app", append([]string{"content", "multi-dc-demo/app"}, admin...), `"tag":"v1"`},
		{"changes", []string{"provision", "last", "--config", f.Datacenters[0].Fleet}, `"outcome":"done"`},
	} {
		trial.Until(t, func() error { // a number may change in between
			var cli bytes.Buffer
			if err := json.Compact(&cli, []byte(output(t, exec.Command(program, append(c.command, "--json")...)))); err != nil {
				return err
			}
			page := clock.ReplaceAllString(strings.TrimSpace(look(t, console+"api/"+c.page).body), "")
			if want := clock.ReplaceAllString(cli.String(), ""); page != want || !strings.HasPrefix(page, `{"format":1,`) || !strings.Contains(page, c.has) {
				return fmt.Errorf("api/%s:\n%s\n%v --json:\n%s", c.page, page, c.command, want)
			}
			return nil
		})
	}
}

// saysWhatStatusSays: of the fleet, what is the same from one moment to the next.
func (f *fleetUnderTest) saysWhatStatusSays(t *testing.T, console, program string) {
	type part struct {
		Format          int
		Domain, Verdict string
		Findings        []wrongFinding
		Missing         []string
		Datacenters     []struct {
			Name, Role string
			Named      struct{ Count, Of int }
			Edges      []struct {
				Report struct {
					Instance, Version string
					Harbor            struct{ Components map[string]string }
				}
			}
		}
	}
	trial.Until(t, func() error {
		var page, command part
		if err := errors.Join(json.Unmarshal([]byte(look(t, console+"api/fleet").body), &page), json.Unmarshal([]byte(output(t, exec.Command(program, "status", "--json", "--config", f.Datacenters[0].Fleet))), &command)); err != nil {
			return err
		}
		if !reflect.DeepEqual(page, command) || page.Format != asjson.Format || len(page.Datacenters) != 3 || page.Datacenters[0].Edges[0].Report.Instance == "" {
			return fmt.Errorf("the console:\n%+v\nstatus --json:\n%+v", page, command)
		}
		return nil
	})
}

// What is written into a form is text, and there is only so much of it.
func TestConsoleTakesNothingForMarkup(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	console := startLab(t).Datacenters[0].Console
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	for page, status := range map[string]int{"image?ref=": 400, "client?client=": 400, "client?client=10.1.2.3&name=": 502, "fleet?x=": 200} {
		g := look(t, console+page+url.QueryEscape(hostile))
		if strict(t, page, g); g.status != status || strings.Contains(g.body, "<script>alert") || strings.Contains(g.body, "<img") {
			t.Errorf("%s: status %d; want %d\n%s", page, g.status, status, g.body)
		}
		if long := look(t, console+page+strings.Repeat("x", 5<<10)); long.status != http.StatusRequestURITooLong || len(long.body) > 1<<10 {
			t.Errorf("%s: 5 KiB: status %d, %d bytes", page, long.status, len(long.body))
		}
		if long := look(t, console+page+strings.Repeat("x", 1<<20)); long.status < 400 || long.status >= 500 || len(long.body) > 1<<10 {
			t.Errorf("%s: 1 MiB: status %d, %d bytes", page, long.status, len(long.body))
		}
	}
	if resp, err := http.Post(console, "text/plain", strings.NewReader("x")); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %v, %v", resp, err)
	}
}

// A datacenter that is dead, or to which no packet gets, is on the page within a second, as all
// other pages are there within one.
func TestConsoleOfAFleetWithADeadDatacenter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	console := f.Datacenters[0].Console
	says := func(kind string) {
		t.Helper()
		trial.Until(t, func() error {
			page, data := prompt(t, console), prompt(t, console+"api/fleet")
			var s fleetStatus
			if err := json.Unmarshal([]byte(data.body), &s); err != nil {
				return err
			}
			for _, found := range s.Findings {
				if found.Kind == kind && found.Datacenter == "mad1" && strings.Contains(page.body, html.EscapeString(found.Sentence)) && strings.Contains(page.body, found.Runbook) && strings.Contains(page.body, ">par1<") {
					return nil
				}
			}
			return fmt.Errorf("no %q of mad1 in %+v, or not on the page", kind, s.Findings)
		})
		for _, page := range consolePages {
			prompt(t, console+page)
		}
	}
	f.act(t, "break", "edge", "mad1", "--for", "0")
	says("edges down")
	f.act(t, "heal")
	f.act(t, "partition", "par1", "mad1", "--for", "0")
	says("edges down")
}
