// Package console is the fleet to look at in a browser: pages that are made here, of what
// the nodes say now. It only reads, and knows nothing of who asks: whoever serves it says
// who may. Every page is also JSON, and works without JavaScript.
package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/cmd/internal/asjson"
	"example.org/breakwater/internal/daemon"
)

const (
	maxQuery = 4 << 10                // bytes of a question, in its URL
	deadline = 850 * time.Millisecond // what a page waits for its data; then the last answer is shown with its age
	longest  = 10 * time.Second       // what the data of a page may take, whoever waits for it
)

// policy keeps everything out of a page that is not of the console itself (CSP Level 3).
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Page is one page of a console.
type Page struct {
	Path  string // its name in URLs, one word; the first page is at "" too
	Title string
	Icon  string // what is drawn before its name: the d of an SVG path, on 24 x 24
	About string // a sentence below the title
	// Template is a file of web/: an html/template that defines "main", which is shown anew
	// as the page is refreshed, and may define "form", which is not: what is above it. Both
	// are given a View.
	Template string
	// Query are the parameters that the page takes. All others are left out: who asks the
	// same is given the same answer.
	Query []string
	// Every is how often a page that is open is refreshed; 0: never.
	Every time.Duration
	// Data returns what the page shows, and its JSON is. It may return both data and an
	// error: what is there is shown, and the error above it. It is called for many readers
	// at once: of the request it has the URL's parameters alone. An error that wraps ErrInput is
	// the reader's.
	Data func(ctx context.Context, r *http.Request) (any, error)
}

// ErrInput is wrapped by errors that say what is wrong with a question.
var ErrInput = errors.New("")

// Input is an error of the reader's.
func Input(format string, args ...any) error {
	return fmt.Errorf("%w%w", ErrInput, fmt.Errorf(format, args...))
}

// Config is what a console is of.
type Config struct {
	Domain     string // of the fleet
	Datacenter string // whose edge serves it
	Version    string
	// Who is the user of a request, for the button that logs out; nil or "": nobody logs in.
	Who   func(context.Context) string
	Pages []Page // in the order of the navigation; the first is where one begins
}

// Console serves the pages, at the root of its URLs. Safe for concurrent use.
type Console struct {
	cfg     Config
	pages   map[string]*page
	assets  *assets
	answers *answers
}

type page struct {
	Page
	template *template.Template
}

// New returns a Console. The error is of a template.
func New(cfg Config) (*Console, error) {
	own, err := readAssets()
	if err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, pages: map[string]*page{}, assets: own, answers: newAnswers(time.Now)}
	frame, err := template.New("frame").Funcs(functions()).Parse(string(own.frame))
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	for i, p := range cfg.Pages {
		own, err := frame.Clone()
		if err == nil {
			own, err = own.ParseFS(web, "web/"+p.Template)
		}
		if err != nil {
			return nil, fmt.Errorf("console: page %s: %w", p.Path, err)
		}
		c.pages[p.Path] = &page{p, own}
		if i == 0 {
			c.pages[""] = c.pages[p.Path]
		}
	}
	return c, nil
}

// At serves the console below a prefix, as "/console".
func (c *Console) At(mux *http.ServeMux, prefix string) {
	mux.Handle(prefix+"/", http.StripPrefix(prefix, c))
}

// ServeHTTP answers for a page, its JSON (api/<page>, or Accept: application/json), or a
// file of the console's own.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	daemon.ForPages(w.Header(), policy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the console is only read", http.StatusMethodNotAllowed)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if name, ok := strings.CutPrefix(path, "assets/"); ok {
		c.assets.serve(w, r, name)
		return
	}
	name, asJSON := strings.CutPrefix(path, "api/")
	p := c.pages[name]
	switch {
	case p == nil || asJSON && name == "":
		http.Error(w, "the console has no such page", http.StatusNotFound)
	case len(r.URL.RawQuery) > maxQuery:
		http.Error(w, fmt.Sprintf("the question is too long: %d bytes are the most", maxQuery), http.StatusRequestURITooLong)
	default:
		c.page(w, r, p, asJSON || wantsJSON(r))
	}
}

// wantsJSON reports whether who asks takes JSON, and no HTML.
func wantsJSON(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func (c *Console) page(w http.ResponseWriter, r *http.Request, p *page, asJSON bool) {
	query := url.Values{}
	for name, values := range r.URL.Query() {
		if slices.Contains(p.Query, name) {
			query.Set(name, values[0])
		}
	}
	asked := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/" + p.Path, RawQuery: query.Encode()}, Header: http.Header{}})
	a := c.answers.get(r.Context(), asked.URL.String(), func(ctx context.Context) (any, error) { return p.Data(ctx, asked.WithContext(ctx)) })
	status := http.StatusOK
	switch {
	case errors.Is(a.err, ErrInput):
		status = http.StatusBadRequest
	case a.err != nil && a.data == nil:
		status = http.StatusBadGateway
	}
	w.Header().Set("Vary", "Accept")
	if asJSON {
		writeJSON(w, a, status)
		return
	}
	v := View{Page: p.Page, Config: c.cfg, Data: a.data, Query: query, Asked: a.at, Age: a.age, Style: c.assets.style, Script: c.assets.script, Mark: c.assets.mark}
	if c.cfg.Who != nil {
		v.User = c.cfg.Who(r.Context())
	}
	if a.err != nil {
		v.Error = a.err.Error()
	}
	var text bytes.Buffer
	if err := p.template.ExecuteTemplate(&text, "frame", v); err != nil {
		http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text.Bytes()) //nolint:errcheck // the reader is gone
}

// writeJSON writes the data as commands print it with --json; its age, and what is wrong with it,
// are headers. Where there is no data, the error is the body.
func writeJSON(w http.ResponseWriter, a answer, status int) {
	h, body := w.Header(), a.data
	h.Set("Content-Type", "application/json")
	if a.age > 0 {
		h.Set("Age", fmt.Sprint(int(a.age.Seconds())))
	}
	if a.err != nil {
		h.Set("Breakwater-Error", url.PathEscape(a.err.Error()))
		if body == nil {
			body = map[string]string{"error": a.err.Error()}
		}
	}
	var text bytes.Buffer
	if err := asjson.Print(&text, body); err != nil {
		http.Error(w, "the data cannot be written as JSON: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	w.Write(text.Bytes()) //nolint:errcheck // the reader is gone
}

// View is what templates are given.
type View struct {
	Page
	Config
	Data   any           // nil: there is none
	Error  string        // what is wrong, in a sentence; "": nothing
	Query  url.Values    // of the page's own parameters
	Asked  time.Time     // when the data was had
	Age    time.Duration // of data that is older than it should be; 0: it is of now
	Style  string        // the file's name
	Script string
	Mark   string
	User   string // who has logged in; "": nobody needs to
}

// Refresh is how often the page is refreshed, in seconds.
func (v View) Refresh() int { return int(v.Every.Seconds()) }

// Here is the page's name in URLs.
func (v View) Here() string { return cmp.Or(v.Path, v.Config.Pages[0].Path) }
