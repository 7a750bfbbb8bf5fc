package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// What a storage says of the address that the source has signed is no word of the source. It is
// asked once for another address; where that is refused too, nobody knows, and no challenge of the
// storage's is left.
func TestARefusalOfAStorageIsNoWordOfTheSource(t *testing.T) {
	for _, c := range []struct {
		status int
		times  int64 // that it refuses
		method string
		path   string
		asked  int64 // times that the source was
		good   bool  // there is an answer
		want   int   // its status
	}{
		{401, 1, "GET", "/bucket/b", 2, true, 200},
		{403, 1, "GET", "/bucket/b", 2, true, 200},
		{400, 1, "GET", "/bucket/b", 2, true, 200}, // ExpiredToken
		{401, 9, "GET", "/bucket/b", 2, false, 0},
		{403, 9, "GET", "/bucket/b", 2, false, 0},
		{403, 9, "HEAD", "/bucket/b", 1, true, 403}, // what is signed may be a GET alone
		{404, 9, "GET", "/bucket/b", 1, true, 404},
		{416, 9, "GET", "/bucket/b", 1, true, 416},
		{403, 9, "GET", "/v2/mirror/a/blobs/" + string(someDigest), 1, true, 403}, // another registry
	} {
		var asked, refused atomic.Int64
		storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("credentials are shown to the storage")
			}
			if refused.Add(1) > c.times {
				io.WriteString(w, "content") //nolint:errcheck // the client has gone
				return
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="storage"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED"}]}`)
		}))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				http.Redirect(w, r, fmt.Sprintf("%s%s?signed=%d", storage.URL, c.path, asked.Add(1)), http.StatusTemporaryRedirect)
			}
		}))
		r := blobRequest()
		r.Method = c.method
		resp, err := newSource(t, SourceConfig{URL: srv.URL, Trusted: true}).Do(t.Context(), r, http.Header{"Authorization": {"Bearer x"}})
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("%+v: %d", c, resp.StatusCode)
			}
		}
		if (err == nil) != c.good || asked.Load() != c.asked || err != nil && (!errors.Is(err, ErrRedirected) || !errors.Is(err, &Error{Code: CodeUnavailable}) || !strings.Contains(err.Error(), "its storage at")) {
			t.Errorf("%+v: asked %d times, %v", c, asked.Load(), err)
		}
		storage.Close()
		srv.Close()
	}
}
