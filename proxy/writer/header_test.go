package writer_test

import (
	"net/http"
	"testing"

	"example.org/breakwater/proxy/writer"
)

func TestSet(t *testing.T) {
	h := http.Header{"Etag": {"old", "older"}}
	writer.Set(h, "Content-Type", "text/plain", "Etag", "new")
	h.Add("Content-Type", "text/html") // must not be another one's value
	if h.Get("Etag") != "new" || len(h["Etag"]) != 1 || h.Get("Content-Type") != "text/plain" {
		t.Error(h)
	}
}
