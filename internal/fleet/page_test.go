package fleet

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	page   = "../../docs/fleet-file.md"
	marker = "<!-- What follows is made of the program's text: go test ./internal/fleet -run TestTheManual -update -->\n"
)

// The page of all fields is made of the same text as the schema; what stands above the marker
// is written by hand.
func TestTheManualIsOfThisProgram(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	above, below, ok := strings.Cut(string(text), marker)
	if !ok {
		t.Fatalf("%s has no marker %q", page, marker)
	}
	want := fieldsPage(t)
	if *update {
		if err := os.WriteFile(page, []byte(above+marker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		below = want
	}
	if below != want {
		t.Errorf("%s is of another program: go test ./internal/fleet -run TestTheManual -update", page)
	}
}

// What is shown as YAML on the pages is taken.
func TestExamplesOfThePagesAreTaken(t *testing.T) {
	shown := 0
	for _, name := range []string{page, "../../docs/projects.md", "../../docs/quick-start.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			shown++
			if _, err := Load(name, []byte(block[1])); err != nil {
				t.Errorf("%v\n%s", err, block[1])
			}
		}
	}
	if shown < 3 {
		t.Errorf("%d examples", shown)
	}
}

func fieldsPage(t *testing.T) string {
	t.Helper()
	root, err := manual()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	section := func(f *field, also string) {
		fmt.Fprintf(&out, "\n## `%s`\n\n", f.path)
		if about := sentence(f); about != "" {
			fmt.Fprintf(&out, "%s\n\n", about)
		}
		if also != "" {
			fmt.Fprintf(&out, "%s\n\n", also)
		}
		fmt.Fprintln(&out, "| field | type | default | example | since | what it is |\n|---|---|---|---|---|---|")
		rows(&out, f, doc.Content[0])
	}
	fmt.Fprintln(&out, "\n## The file\n\n| field | type | default | example | since | what it is |\n|---|---|---|---|---|---|")
	for _, f := range root.fields {
		if f.fields == nil && f.each == nil {
			row(&out, f, doc.Content[0])
		}
	}
	for _, f := range root.fields {
		switch {
		case f.key == "datacenters":
			f.each.text = "A place with a Harbor and, before it, an edge. " + upper(f.text)
			section(f.each, "")
		case f.key == "projects":
			for _, kind := range f.fields {
				if kind.each == nil {
					section(kind, "")
					continue
				}
				section(kind.each, fmt.Sprintf("`%s.defaults` takes the same fields, for what a project does not say itself%s; `%s.datacenters.<name>` takes them too, for what differs in one datacenter.",
					kind.path, but(idleAt[kind.path+".defaults"]), kind.each.path))
				for _, beside := range kind.fields {
					if beside.fields == nil { // of all projects of the kind
						row(&out, beside, doc.Content[0])
					}
				}
			}
		case f.fields != nil:
			section(f, "")
		}
	}
	return out.String()
}

func but(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return ", but " + strings.Join(fields, ", ")
}

// rows writes a row for each field below f.
func rows(out *bytes.Buffer, f *field, doc *yaml.Node) {
	for _, own := range f.fields {
		if own.key == "datacenters" && own.each != nil && own.each.fields != nil && strings.HasPrefix(own.path, "projects.") {
			continue // the same again
		}
		row(out, own, doc)
		rows(out, own, doc)
		if own.each != nil {
			rows(out, own.each, doc)
		}
	}
}

func row(out *bytes.Buffer, f *field, doc *yaml.Node) {
	initial := f.initial
	switch {
	case f.required():
		initial = "required"
	case initial != "":
		initial = "`" + initial + "`"
	}
	example, since := "", "0.1.0"
	if all := words[f.kind]["examples"]; all != nil {
		example = "`" + all.([]string)[0] + "`"
	}
	if n := at(doc, strings.Split(strings.ReplaceAll(f.path, "[]", ".[]"), ".")); n != nil {
		example = shortly(n)
	} else if more, ok := moreExamples[f.key]; ok {
		example = more
	}
	if m := sinceVersion.FindStringSubmatch(f.text); m != nil {
		since = m[1]
	}
	fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s | %s |\n", f.path, typeName(f), initial, example, since, strings.ReplaceAll(sentence(f), "|", "\\|"))
}

// moreExamples are of fields that exclude what stands in every-field.yaml.
var moreExamples = map[string]string{"role": "`breakwater`", "mount": "`kubernetes`", "most_recently_pulled": "`10`", "most_recently_pushed": "`10`", "pulled_within": "`180d`", "pushed_within": "`30d`"}

var (
	sinceVersion = regexp.MustCompile(`since (\d+\.\d+\.\d+)`)
	aside        = regexp.MustCompile(`(^|; )(required|default [^;]*)$|(^|; )since \d+\.\d+\.\d+`)
)

// sentence is what a comment says beside what has columns of its own.
func sentence(f *field) string {
	text := f.text
	if all := f.choices(); all != nil {
		text = strings.TrimLeft(strings.TrimPrefix(text, strings.Join(all, " | ")), ";:, ")
	}
	return upper(aside.ReplaceAllString(text, ""))
}

func upper(text string) string {
	if text == "" || strings.Contains(strings.SplitN(text, " ", 2)[0], ":") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

var typeNames = map[reflect.Type]string{
	reflect.TypeFor[Duration](): "duration", reflect.TypeFor[Keeping](): "duration, or `forever`", reflect.TypeFor[Size](): "size", reflect.TypeFor[Ref](): "reference", reflect.TypeFor[Text](): "text or reference",
	reflect.TypeFor[URL](): "address", reflect.TypeFor[Endpoint](): "address, with a path", reflect.TypeFor[Issuer](): "address, with a path", reflect.TypeFor[Probed](): "what is probed",
	reflect.TypeFor[Destination](): "host or network", reflect.TypeFor[Network](): "network", reflect.TypeFor[Addr](): "IP address", reflect.TypeFor[Flatten](): "`all`, `none` or a number",
	reflect.TypeFor[Copies](): "a number or `all`",
}

func typeName(f *field) string {
	if all := f.choices(); all != nil {
		return "`" + strings.Join(all, "`, `") + "`"
	}
	if name := typeNames[f.kind]; name != "" {
		return name
	}
	switch f.kind.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		if name := typeName(f.each); name != "block" {
			return "list: " + name
		}
		return "list of blocks"
	case reflect.Map:
		return "by name: " + typeName(f.each)
	case reflect.Struct:
		return "block"
	}
	return "text"
}

// at is what stands at a path; a name that the file chooses is the first.
func at(n *yaml.Node, path []string) *yaml.Node {
	if len(path) == 0 {
		return n
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; key == path[0] || path[0] == "<name>" && key != "defaults" {
				return at(n.Content[i+1], path[1:])
			}
		}
	case yaml.SequenceNode:
		if len(n.Content) > 0 && path[0] == "[]" {
			return at(n.Content[0], path[1:])
		}
	}
	return nil
}

// shortly is a value on one line; "" for a block.
func shortly(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Style&yaml.DoubleQuotedStyle != 0 {
			return "`\"" + n.Value + "\"`"
		}
		return "`" + n.Value + "`"
	case yaml.SequenceNode:
		var all []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return ""
			}
			all = append(all, strings.Trim(shortly(item), "`"))
		}
		return "`[" + strings.Join(all, ", ") + "]`"
	}
	return ""
}
