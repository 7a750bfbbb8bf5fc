package console_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/breakwater/cmd/internal/console"
	"example.org/breakwater/proxy/explain"
)

// consoleOf is a console with one page, of images, whose data is data's.
func consoleOf(t *testing.T, data func(context.Context, *http.Request) (any, error)) *console.Console {
	t.Helper()
	page := console.ImagePage(nil)
	page.Data = data
	c, err := console.New(console.Config{Domain: "harbor.example.org", Datacenter: "par1", Pages: []console.Page{page}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(c *console.Console, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// A hundred readers cost what one does, for a second; other parameters are another question.
func TestReadersShareAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := consoleOf(t, func(_ context.Context, r *http.Request) (any, error) {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond) // of the bubble's clock
			return explain.Explanation{Reference: r.URL.Query().Get("ref"), Answer: "It is held."}, nil
		})
		read := func(n int, path string) {
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					if w := ask(c, path); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "It is held.") {
						t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
					}
				})
			}
			all.Wait()
		}
		read(100, "/image?ref=a&x=1")
		read(1, "/api/image?x=2&ref=a") // what the page does not take makes no difference
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times; want once", n)
		}
		read(2, "/image?ref=b")
		time.Sleep(1100 * time.Millisecond)
		read(2, "/image?ref=a")
		if n := asked.Load(); n != 3 {
			t.Errorf("asked %d times; want 3", n)
		}
	})
}

// What is late is waited for 850 ms: a sentence says so, or the last answer stands in.
func TestWhatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 3 * time.Second
		c := consoleOf(t, func(context.Context, *http.Request) (any, error) {
			time.Sleep(takes)
			return explain.Explanation{Answer: "It is held."}, nil
		})
		begun := time.Now()
		w := ask(c, "/image?ref=a")
		if took := time.Since(begun); took >= time.Second || w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "no answer yet") {
			t.Errorf("at first: status %d after %v: %s", w.Code, took, w.Body)
		}
		time.Sleep(10 * time.Second)
		begun = time.Now()
		w = ask(c, "/image?ref=a")
		if took := time.Since(begun); took >= time.Second || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "It is held.") || !strings.Contains(w.Body.String(), "8 s old") {
			t.Errorf("then: status %d after %v: %s", w.Code, took, w.Body)
		}
		if w = ask(c, "/api/image?ref=a"); w.Header().Get("Age") != "9" {
			t.Errorf("its JSON has the age %q; want 9", w.Header().Get("Age"))
		}
		time.Sleep(10 * time.Second)
	})
}

// A source that fails, or a page that breaks, is said in words, beside what is there.
func TestWhatFails(t *testing.T) {
	var data any
	var err error
	c := consoleOf(t, func(_ context.Context, r *http.Request) (any, error) {
		if r.URL.Query().Get("ref") == "broken" {
			panic("at the disco")
		}
		return data, err
	})
	data, err = explain.Explanation{Answer: "It is held."}, errors.New("mad1 <is> away")
	if w := ask(c, "/image?ref=a"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "It is held.") || !strings.Contains(w.Body.String(), "mad1 &lt;is&gt; away") {
		t.Errorf("data and an error: status %d: %s", w.Code, w.Body)
	}
	if w := ask(c, "/api/image?ref=a"); !strings.Contains(w.Body.String(), "It is held.") || w.Header().Get("Breakwater-Error") != "mad1%20%3Cis%3E%20away" {
		t.Errorf("as JSON: %v: %s", w.Header(), w.Body)
	}
	data = nil
	if w := ask(c, "/api/image?ref=b"); w.Code != http.StatusBadGateway || w.Body.String() != `{"format":1,"error":"mad1 <is> away"}`+"\n" {
		t.Errorf("an error alone: status %d: %s", w.Code, w.Body)
	}
	if w := ask(c, "/image?ref=broken"); w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "<h1>") {
		t.Errorf("a page that breaks: status %d: %s", w.Code, w.Body)
	}
}
