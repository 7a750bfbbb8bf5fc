package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.org/breakwater/internal/trial"
)

// browser is Debian's chromium with one page open.
type browser struct {
	context.Context
	t   *testing.T
	axe string // axe-core, as a script

	mu     sync.Mutex
	faults []string // of the pages since they were taken: errors, refusals by the policy, what could not be loaded
}

// newBrowser starts one. axe-core is not this project's to hand on: BREAKWATER_AXE is the file.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	chromium := trial.Client(t, "chromium")
	script, err := os.ReadFile(os.Getenv("BREAKWATER_AXE"))
	if err != nil {
		trial.Missing(t, "axe.min.js (BREAKWATER_AXE)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	allocated, end := chromedp.NewExecAllocator(ctx, options...)
	ctx, close := chromedp.NewContext(allocated)
	t.Cleanup(func() { close(); end(); cancel() })
	b := &browser{Context: ctx, t: t, axe: string(script)}
	chromedp.ListenTarget(ctx, b.hear)
	b.do(log.Enable(), runtime.Enable())
	return b
}

// hear takes note of what a page's console would show in red.
func (b *browser) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError {
			text = e.Entry.Text + " " + e.Entry.URL
		}
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError {
			text = fmt.Sprintf("console.error %s", e.Args[0].Value)
		}
	}
	if text != "" {
		b.mu.Lock()
		b.faults = append(b.faults, text)
		b.mu.Unlock()
	}
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.Context, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// ask evaluates a script; a promise is waited for.
func (b *browser) ask(script string, into any) {
	b.t.Helper()
	b.do(chromedp.Evaluate(script, into, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// as has pages be so wide, in a colour scheme.
func (b *browser) as(width int64, scheme string) {
	b.t.Helper()
	b.do(emulation.SetDeviceMetricsOverride(width, 900, 1, false),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

// judge looks at the page that is open: errors, its width, axe-core's rules. It is kept as a
// picture in $BREAKWATER_REPORTS.
func (b *browser) judge(name string) {
	b.t.Helper()
	var wide string
	b.ask(`(() => { const r = document.documentElement; return r.scrollWidth <= r.clientWidth ? "" : r.scrollWidth + " of " + r.clientWidth + " pixels: " +
		[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > r.clientWidth + 1 && !e.closest(".scroll")).slice(0, 5).map(e => e.tagName + "." + e.className).join(" "); })()`, &wide)
	if wide != "" {
		b.t.Errorf("%s scrolls sideways: %s", name, wide)
	}
	var below []string // cells of a table that is a list, what of them is in the column of their names
	b.ask(`[...document.querySelectorAll("table.stack td[data-label] > *")].filter(e => innerWidth <= 620 && e.checkVisibility() && e.getBoundingClientRect().left < e.parentElement.getBoundingClientRect().left + 110).map(e => e.parentElement.dataset.label + ": " + e.textContent.slice(0, 80))`, &below)
	if len(below) > 0 {
		b.t.Errorf("%s has below the name of a cell what is beside it: %q", name, below)
	}
	var violations []string
	b.ask(b.axe+`; axe.run().then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary)))`, &violations)
	for _, v := range violations {
		b.t.Errorf("%s, axe-core: %s", name, v)
	}
	if dir := os.Getenv("BREAKWATER_REPORTS"); dir != "" {
		var picture []byte
		b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
			picture, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).Do(ctx)
			return err
		}))
		if err := os.WriteFile(filepath.Join(dir, "console-"+name+".png"), picture, 0o644); err != nil {
			b.t.Error(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		b.t.Errorf("%s: %s", name, fault)
	}
	b.faults = nil
}

// keyboard wants the Tab key to come to all that can be pressed or filled in, and back.
func (b *browser) keyboard(name string) {
	b.t.Helper()
	var n int
	b.ask(`(() => { document.getElementById("pause")?.click(); document.activeElement?.blur();
		window.reached = new Set(); addEventListener("focusin", e => reached.add(e.target));
		window.wanted = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter(e => e.checkVisibility());
		return wanted.length; })()`, &n)
	b.do(chromedp.KeyEvent(strings.Repeat(kb.Tab, n+5)))
	var missed []string
	b.ask(`wanted.filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 200))`, &missed)
	if n < 3 || len(missed) > 0 {
		b.t.Errorf("%s: the keyboard does not come to %d of %d: %v", name, len(missed), n, missed)
	}
}
