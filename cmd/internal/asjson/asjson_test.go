package asjson_test

import (
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/asjson"
)

// An object begins with its format; a list stays as it is; what is no JSON is not printed.
func TestPrint(t *testing.T) {
	for _, c := range []struct {
		answer any
		want   string
	}{
		{map[string]string{"what": "<a>"}, `{"format":1,"what":"<a>"}` + "\n"},
		{struct{}{}, `{"format":1}` + "\n"},
		{[]string{"a"}, `["a"]` + "\n"},
		{[]byte(" {\"a\": 1}\n"), `{"format":1,"a": 1}` + "\n"},
		{[]byte("{ }"), `{"format":1}` + "\n"},
		{[]byte("{"), ""},
		{[]byte("<html>"), ""},
		{[]byte("{} {}"), ""},
		{make(chan int), ""},
	} {
		var out strings.Builder
		if err := asjson.Print(&out, c.answer); out.String() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v", c.answer, &out, err)
		}
	}
}
