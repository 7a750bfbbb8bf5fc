package pass_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/proxy/pass"
)

// closing is a client's body, which the server closes when there is an answer.
type closing struct {
	io.Reader
	again bool // it was read after its end
}

func (c *closing) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		c.again, err = true, http.ErrBodyReadAfterClose
	}
	return n, err
}

func (*closing) Close() error { return nil }

// Harbor may answer as soon as it has a body's last byte: that the client's body cannot be
// read any more does not cut the answer.
func TestABodyIsNotReadAfterItsLength(t *testing.T) {
	proxy, _ := behind(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			return // it is shorter than its length
		}
		w.WriteHeader(http.StatusCreated)
		http.NewResponseController(w).Flush() //nolint:errcheck // the test sees it
		w.Write(got)                          //nolint:errcheck // as above
	})
	for name, sent := range map[string]string{"small": "a manifest", "large": strings.Repeat("x", 1<<20)} {
		body := &closing{Reader: strings.NewReader(sent)}
		r := httptest.NewRequest(http.MethodPut, "/v2/plain/app/manifests/1", body)
		r.ContentLength = int64(len(sent))
		w := httptest.NewRecorder()
		if err := proxy.Serve(w, r, pass.Call{}); err != nil || w.Code != http.StatusCreated || w.Body.String() != sent {
			t.Errorf("%s: %d, %d of %d bytes, %v", name, w.Code, w.Body.Len(), len(sent), err)
		}
		if body.again {
			t.Errorf("%s: it was read after its length", name)
		}
	}
	short := httptest.NewRequest(http.MethodPut, "/v2/plain/app/manifests/1", strings.NewReader("short"))
	short.ContentLength = 10
	if err := proxy.Serve(httptest.NewRecorder(), short, pass.Call{}); err == nil {
		t.Error("a body that is shorter than its length was passed as if it were whole")
	}
}
