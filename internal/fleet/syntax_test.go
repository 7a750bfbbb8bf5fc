package fleet

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

const sound = "domain: h.example.org\ndatacenters:\n  par1: { harbor: \"https://a.example.org\" }\n"

func utf16Of(text string, mark string, low int) string {
	out := []byte(mark)
	for _, c := range []byte(text) {
		unit := [2]byte{0, 0}
		unit[low] = c
		out = append(out, unit[:]...)
	}
	return string(out)
}

// broken are files that are no YAML, or YAML of a kind that a fleet file is not: where that is
// to be seen, and what is said of it. Line 0 is of a file that is taken.
var broken = []struct {
	name, text string
	line       int
	say        string
}{
	{"nothing but spaces", "  \n\n", 0, "the file is empty"},
	{"comments alone", "# a\n# b\n", 0, "the file is empty"},
	{"a document without content", "---\n...\n", 0, "the file is empty"},
	{"null", "null\n", 0, "the file is empty"},
	{"a tab at the beginning", "domain: h.example.org\ndatacenters:\n\tpar1:\n", 3, "tab"},
	{"a tab after spaces", "domain: h.example.org\ndatacenters:\n  par1:\n  \tharbor: https://a\n", 4, "tab"},
	{"Latin-1 in a comment", sound + "# caf\xe9\n", 4, "no UTF-8 (in Latin-1 it is 'é')"},
	{"Latin-1 in a value", "domain: h.example.org\r\nx: \"caf\xe9\"\r\n", 2, "save the file as UTF-8"},
	{"UTF-8 with a mark", "\xef\xbb\xbf" + sound, -1, ""},
	{"a mark, and a fault behind it", "\xef\xbb\xbf" + sound + "x: 1\n", 4, "there is no such field"},
	{"a mark in the middle", sound + "\xef\xbb\xbfx: 1\n", 4, "U+FEFF"},
	{"UTF-16, little end first", utf16Of(sound, "\xff\xfe", 0), -1, ""},
	{"UTF-16, big end first", utf16Of(sound, "\xfe\xff", 1), -1, ""},
	{"UTF-16, and a fault in it", utf16Of(sound+"x: 1\n", "\xff\xfe", 0), 4, "there is no such field"},
	{"UTF-16 without a mark", utf16Of(sound, "", 0), 1, "U+0000"},
	{"a control character", sound + "x: \"\x1b\"\n", 4, "U+001B"},
	{"a line separator", sound + "x: \u2028y\n", 4, "U+2028"},
	{"a no-break space as indentation", "domain: h.example.org\ndatacenters:\n\u00a0\u00a0par1: { harbor: x }\n", 3, "U+00A0"},
	{"two documents", sound + "---\n" + sound, 4, "a second document begins here"},
	{"more behind the end", sound + "...\nx: 1\n", 5, "a second document begins here"},
	{"an end, and no more", "---\n" + sound + "...\n", -1, ""},
	{"a merge key", "domain: h.example.org\ndatacenters:\n  par1: &p { harbor: \"https://a.example.org\" }\n  b:\n    <<: *p\n", 5, "merge keys (<<) are not taken"},
	{"an alias of a value", sound + "harbor: { username: &u admin, ca: *u }\n", -1, ""},
	{"an alias that names nothing", "domain: *h\n", 1, "quote a value that begins with *"},
	{"an alias as a name", "domain: &a h.example.org\ndatacenters: { *a : { harbor: \"https://a\" } }\n", 2, "a name is no alias"},
	{"a pattern without quotes", sound + "x: [v*, *]\n", 4, "quote a value that begins with *"},
	{"an ampersand", "domain: &\n", 1, "quote a value that begins with * or &"},
	{"a tag", "domain: !!binary aGFyYm9yLmV4YW1wbGUub3Jn\n", 1, "tags (as !!binary) are not taken"},
	{"a tag of one's own", "domain: !env DOMAIN\n", 1, "tags (as !env) are not taken"},
	{"a tag that says what is so", "domain: !!str h.example.org\n", 1, "tags (as !!str) are not taken"},
	{"a tag of a list", "domain: h.example.org\ndatacenters: !!omap\n  - par1: {}\n", 2, "tags (as !!omap) are not taken"},
	{"a double quote that is not closed", "domain: \"h.example.org\ndatacenters:\n  par1: { harbor: \"https://a.example.org\" }\n", 1, "the quote that is opened here"},
	{"a double quote that is never closed", sound + "harbor: { ca: \"x }\n", 4, "is never closed"},
	{"a single quote that is never closed", "domain: 'h.example.org\ndatacenters:\n  par1: { harbor: x }\n", 1, "is never closed"},
	{"an apostrophe", sound + "harbor: { ca: 'it's' }\n", 4, "a comma or } is missing"},
	{"something behind a quote", "domain: \"h\".example.org\n", 1, "nothing follows a closing quote"},
	{"a brace that is not closed", "domain: h.example.org\ndatacenters:\n  par1: { harbor: \"https://a.example.org\"\nedge:\n  plain_http: true\n", 3, "the { that is opened here is not closed"},
	{"a bracket that is not closed", sound + "x: [a, b\n", 4, "the [ that is opened here is not closed"},
	{"a brace too many", sound + "x: { a: b }}\n", 4, "there is nothing open that } could close"},
	{"a bracket too many", sound + "x: ]\n", 4, "there is nothing open that ] could close"},
	{"a comma too many", sound + "x: [a,,b]\n", 4, "where a value is wanted"},
	{"a comma that is missing", sound + "x: { a: \"b\" c: d }\n", 4, "comma"},
	{"indented less than its neighbours", "domain: h.example.org\ndatacenters:\n  par1:\n    harbor: x\n   edge: y\n", 5, "belongs to nothing above it"},
	{"indented more than what has a value", "domain: h.example.org\n  datacenters:\n", 2, "indented deeper than line 1"},
	{"no space behind a colon", "domain:h.example.org\ndatacenters:\n", 1, "no colon with a space behind it"},
	{"no colon", "domain: h.example.org\n\n# here\ndatacenters\n  par1: { harbor: x }\n", 4, "no colon with a space behind it"},
	{"two colons", "domain: a: b\n", 1, "two colons on one line"},
	{"an at sign", "domain: @h\n", 1, "no value begins with @"},
	{"a percent sign", "domain: %h\n", 1, "no value begins with %"},
	{"a percent sign in front", "%domain: h\n", 1, "begins with %"},
	{"a bar", "domain: |h\n", 1, "quote a value that begins with one of them"},
	{"an escape that is none", "domain: \"a\\qb\"\n", 1, `write \\`},
	{"a list", "- a\n- b\n", 1, "want fields here, not a list"},
	{"one word", "hello\n", 1, "want fields here, not a single value"},
	{"a list of datacenters", "domain: h.example.org\ndatacenters:\n  - par1: { harbor: x }\n", 2, "write the names without dashes"},
	{"a list of one", "domain: [h.example.org]\n", 1, "write it without brackets"},
	{"a template", "domain: {{ .Values.domain }}\n", 1, "what a template has in braces is filled in before"},
	{"a block for a value", "domain: { name: h.example.org }\n", 1, "one value here, not a block of fields"},
	{"a merge that was not ended", "domain: h.example.org\ndatacenters:\n<<<<<<< HEAD\n  par1: { harbor: \"https://a.example.org\" }\n=======\n  par1: { harbor: \"https://b.example.org\" }\n>>>>>>> theirs\n", 3, "a merge of git's"},
	{"a merge that was not ended, among fields", sound + "<<<<<<< HEAD\nedge: { plain_http: true }\n=======\n>>>>>>> theirs\n", 4, "a merge of git's"},
	{"a list as a name", "domain: h.example.org\n? [a, b]\n: x\n", 2, "a name is one word"},
	{"no name", "domain: h.example.org\ndatacenters:\n  ~: { harbor: \"https://d.example.org\" }\n", 3, "a name is missing"},
	{"a number as a name", "domain: h.example.org\ndatacenters:\n  123: { harbor: \"https://a.example.org\" }\n", -1, ""},
	{"yes", sound + "edge: { plain_http: yes }\n", 4, "want true or false; write true"},
	{"Off", sound + "edge: { plain_http: Off }\n", 4, "want true or false; write false"},
	{"an octal number", "domain: h.example.org\ndatacenters: { a: { harbor: \"https://a\", weight: 010 } }\n", 2, "without the zero"},
	{"no number", "domain: h.example.org\ndatacenters: { a: { harbor: \"https://a\", location: { latitude: .inf, longitude: 0x10 } } }\n", 2, "is not a number"},
	{"the same name twice", "domain: h.example.org\ndomain: b.example.org\n", 2, "it stands on line 1 already"},
	{"a version of YAML that nobody speaks", "%YAML 9.9\n---\n" + sound, 1, "begins with %"},
	{"a value without end", "domain: \"" + strings.Repeat("a", 5000) + "\"\n", 1, "longer than 4096 bytes"},
	{"too many brackets", strings.Repeat("[", 20000), 1, "nested too deeply"},
	{"much by alias", sound + "projects:\n  repl:\n    p: &p { images: [" + strings.Repeat("{ from: a, name: b }, ", 200) + "] }\n" + aliases(1000), 6, "larger than it looks"},
	{"too many blocks", "domain: h\n" + steps(200), 2, "there is no such field"},
}

func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    p%d: *p\n", i)
	}
	return b.String()
}

func steps(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// jargon is what the parser says, and nobody who writes a fleet file.
var jargon = regexp.MustCompile(`yaml:|go-yaml|scanner|parser|flow|mapping|scalar|token|octet|construct|anchor|node|unmarshal`)

// What is no YAML is said in plain words, on the line where it is to be mended.
func TestWhatIsNoYAML(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			begun := time.Now()
			_, err := Load("f", []byte(c.text))
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.line < 0 {
				if err != nil {
					t.Fatalf("it is sound: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was taken")
			}
			if jargon.MatchString(err.Error()) {
				t.Errorf("that is the parser's language: %v", err)
			}
			want := fmt.Sprintf("f:%d: ", c.line)
			if c.line == 0 {
				want = "f: "
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if strings.HasPrefix(line, want) && strings.Contains(line, c.say) {
					return
				}
			}
			t.Errorf("want %q on line %d, got\n%v", c.say, c.line, err)
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAFileWithoutEndIsNotReadToIt(t *testing.T) {
	if _, err := Read("f", endless{}); err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Error(err)
	}
}
