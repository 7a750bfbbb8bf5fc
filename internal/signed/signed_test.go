package signed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/internal/trial"
)

var first, second = strings.Repeat("first-", 6), strings.Repeat("second-", 5)

func ring(t *testing.T, secret, previous string) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(secret, previous)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// node is a server that says what it was asked; between stands on the way to it.
func node(t *testing.T, h *signed.Handler, between func(http.ResponseWriter, *http.Request, http.Handler)) string {
	t.Helper()
	h.Next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "no" {
			http.Error(w, "there is no datacenter \"x1\"", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %s by %s", r.Method, r.URL.RequestURI(), body, r.Header.Get(signed.Asker))
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if between != nil {
			between(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAQuestionAndItsAnswer(t *testing.T) {
	url := node(t, &signed.Handler{Ring: ring(t, first, ""), Self: "par1"}, nil)
	c := signed.Client{Ring: ring(t, first, ""), From: "ann@desk"}
	got, err := c.Ask(context.Background(), "par1", "POST", url+"/override?name=a%2Fb", []byte("drain"))
	if want := "POST /override?name=a%2Fb drain by ann@desk"; err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	_, err = c.Ask(context.Background(), "par1", "POST", url, []byte("no"))
	var refused *signed.Refused
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Says != `there is no datacenter "x1"` {
		t.Errorf("%v; want the node's own words", err)
	}
}

// Whoever has the new key, the old one or both can ask whoever has: only who shares none is refused.
func TestTwoKeysAtATime(t *testing.T) {
	rings := map[string]*keyring.Ring{"old": ring(t, first, ""), "both": ring(t, second, first), "new": ring(t, second, "")}
	for asks, from := range rings {
		for answers, to := range rings {
			url := node(t, &signed.Handler{Ring: to, Self: "par1"}, nil)
			c := signed.Client{Ring: from, From: "ann"}
			_, err := c.Ask(context.Background(), "par1", "GET", url+"/status", nil)
			if apart := asks != "both" && answers != "both" && asks != answers; (err != nil) != apart {
				t.Errorf("%s asks %s: %v", asks, answers, err)
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	ahead := func() time.Time { return time.Now().Add(3 * time.Minute) }
	for name, c := range map[string]struct {
		handler *signed.Handler
		client  signed.Client
		says    string
	}{
		"another key":    {&signed.Handler{Ring: ring(t, second, "")}, signed.Client{Ring: ring(t, first, "")}, "another key"},
		"another node":   {&signed.Handler{Ring: ring(t, first, ""), Self: "mad1"}, signed.Client{Ring: ring(t, first, "")}, "the question is for par1, and this is mad1"},
		"its clock":      {&signed.Handler{Ring: ring(t, first, "")}, signed.Client{Ring: ring(t, first, ""), Now: ahead}, "differ by 3m0s"},
		"the other's":    {&signed.Handler{Ring: ring(t, first, ""), Now: ahead}, signed.Client{Ring: ring(t, first, "")}, "differ by 3m0s"},
		"before it ran":  {&signed.Handler{Ring: ring(t, first, ""), Since: time.Now().Add(time.Minute)}, signed.Client{Ring: ring(t, first, "")}, "asked before par1 started"},
		"no key there":   {&signed.Handler{}, signed.Client{Ring: ring(t, first, "")}, "another key"},
		"no key of ours": {&signed.Handler{Ring: ring(t, first, "")}, signed.Client{}, "no key"},
	} {
		if c.handler.Self == "" {
			c.handler.Self = "par1"
		}
		c.client.From = "ann"
		url := node(t, c.handler, nil)
		if _, err := c.client.Ask(context.Background(), "par1", "POST", url, nil); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
}

// What somebody on the way changes, of a question or of an answer, is not believed.
func TestWhatIsChangedOnTheWay(t *testing.T) {
	question := map[string]func(*http.Request){
		"the path":   func(r *http.Request) { r.URL.Path = "/other" },
		"the query":  func(r *http.Request) { r.URL.RawQuery = "a=2" },
		"the method": func(r *http.Request) { r.Method = "DELETE" },
		"the body":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("b")) },
		"who asks": func(r *http.Request) {
			r.Header.Set(signed.Header, strings.Replace(r.Header.Get(signed.Header), "from=ann", "from=bob", 1))
		},
		"when": func(r *http.Request) {
			r.Header.Set(signed.Header, strings.Replace(r.Header.Get(signed.Header), "at=1", "at=2", 1))
		},
		"no signature": func(r *http.Request) { r.Header.Del(signed.Header) },
	}
	answer := map[string]func(*httptest.ResponseRecorder){
		"the answer":    func(a *httptest.ResponseRecorder) { a.Body.WriteString("!") },
		"its status":    func(a *httptest.ResponseRecorder) { a.Code = http.StatusAccepted },
		"its signature": func(a *httptest.ResponseRecorder) { a.Header().Del(signed.Header) },
		"a redirect in place": func(a *httptest.ResponseRecorder) {
			a.Code = http.StatusTemporaryRedirect
			a.Header().Set("Location", "http://127.0.0.1:1/")
		},
	}
	ask := func(name string, ofQuestion func(*http.Request), ofAnswer func(*httptest.ResponseRecorder)) {
		url := node(t, &signed.Handler{Ring: ring(t, first, ""), Self: "par1"}, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
			ofQuestion(r)
			a := httptest.NewRecorder()
			h.ServeHTTP(a, r)
			ofAnswer(a)
			w.Header().Set(signed.Header, a.Header().Get(signed.Header))
			w.Header().Set("Location", a.Header().Get("Location"))
			w.WriteHeader(a.Code)
			w.Write(a.Body.Bytes()) //nolint:errcheck // a test's
		})
		c := signed.Client{Ring: ring(t, first, ""), From: "ann"}
		if got, err := c.Ask(context.Background(), "par1", "POST", url+"/x?a=1", []byte("a")); (err == nil) != (name == "") {
			t.Errorf("%q is changed on the way: %q, %v", name, got, err)
		}
	}
	same, alike := func(*http.Request) {}, func(*httptest.ResponseRecorder) {}
	ask("", same, alike)
	for name, change := range question {
		ask(name, change, alike)
	}
	for name, change := range answer {
		ask(name, same, change)
	}
}

// Who has listened cannot have the same done again.
func TestAQuestionIsAnsweredOnce(t *testing.T) {
	asked := 0
	url := node(t, &signed.Handler{Ring: ring(t, first, ""), Self: "par1"}, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		asked++
		again := r.Clone(r.Context())
		again.Body = http.NoBody
		h.ServeHTTP(httptest.NewRecorder(), again)
		h.ServeHTTP(w, r)
	})
	c := signed.Client{Ring: ring(t, first, ""), From: "ann"}
	for range 2 { // two questions of one asker are two
		if _, err := c.Ask(context.Background(), "par1", "GET", url, nil); err == nil || !strings.Contains(err.Error(), "asked already") {
			t.Errorf("%v; want a refusal of what was asked already", err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// Who has no key costs a header: neither a body that never comes is waited for, nor one that
// comes read. Who listened has no better chance, and what was signed is no other body's.
func TestTheBodyOfAStrangerIsNotRead(t *testing.T) {
	var once string
	url := node(t, &signed.Handler{Ring: ring(t, first, ""), Self: "par1"}, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		if once == "" {
			once = r.Header.Get(signed.Header)
		}
		h.ServeHTTP(w, r)
	})
	c := signed.Client{Ring: ring(t, first, ""), From: "ann"}
	if _, err := c.Ask(context.Background(), "par1", "POST", url+"/x", []byte("drain")); err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{"no signature": "", "one of before": once} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(trial.Patience / 4)) //nolint:errcheck // a connection has one
		fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n%s: %s\r\n\r\n", signed.Header, header)
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") {
			t.Errorf("%s: %q, %v; want a refusal, and the end of the connection", name, answer, err)
		}
	}
}

// What refuses may be anybody: its words are printed, and a terminal must not obey them.
func TestARefusalHasNothingForATerminal(t *testing.T) {
	url := node(t, &signed.Handler{}, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set(signed.RefusalHeader, "1")
		http.Error(w, "no\x1b[2J\x1b]0;x\a \u202e\u009b31m here", http.StatusForbidden)
	})
	c := signed.Client{Ring: ring(t, first, ""), From: "ann"}
	if _, err := c.Ask(context.Background(), "par1", "GET", url, nil); err == nil || err.Error() != "no?[2J?]0;x? ??31m here" {
		t.Errorf("%q", err)
	}
}
