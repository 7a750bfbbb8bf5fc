package registry

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestErrorSurvivesTheWire(t *testing.T) {
	w := httptest.NewRecorder()
	e := Errorf(CodeUnavailable, "nobody can say now")
	e.RetryAfter, e.Cause = 1500*time.Millisecond, errors.New("dial tcp 10.0.0.1: refused")
	WriteError(w, e)
	if strings.Contains(w.Body.String(), "10.0.0.1") {
		t.Error("the cause went to the client")
	}
	got := ReadError(w.Result())
	if !errors.Is(got, e) || got.Status != 503 || got.Message != e.Message || got.RetryAfter != 2*time.Second {
		t.Errorf("read back %+v", got)
	}
}

func TestUnknownErrorKeepsItsText(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, errors.New("password=hunter2"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") || !strings.Contains(w.Body.String(), `"UNKNOWN"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestReadErrorOfAnHTMLPageHasNoCode(t *testing.T) {
	w := httptest.NewRecorder()
	w.WriteHeader(http.StatusNotFound)
	w.WriteString("<html>" + strings.Repeat("x", 1<<20))
	if got := ReadError(w.Result()); got.Status != 404 || got.Code != "" {
		t.Errorf("%+v", got)
	}
}

// JSON that names no error is no registry's word either.
func TestReadErrorOfJSONWithoutAnErrorHasNoCode(t *testing.T) {
	for _, body := range []string{"{}", `{"errors":[]}`, `{"errors":null}`, `{"errors":"x"}`, `[]`, "null", ""} {
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusBadGateway)
		w.WriteString(body)
		if got := ReadError(w.Result()); got.Status != 502 || got.Code != "" || got.Message != "" {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

// What a source says with its no is remembered and logged: a page of it is cut.
func TestALongMessageIsCut(t *testing.T) {
	body := `{"errors":[{"code":"` + strings.Repeat("C", 30_000) + `","message":"` + strings.Repeat("ä", 15_000) + `"}]}`
	e := ReadError(&http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))})
	if len(e.Code) > 64 || len(e.Message) > 1<<10 || len(e.Message) < 1000 || !utf8.ValidString(e.Message) {
		t.Errorf("a code of %d bytes, a message of %d", len(e.Code), len(e.Message))
	}
}
