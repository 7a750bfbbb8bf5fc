package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shape is what docs/json.md says of an object.
type shape struct {
	fields map[string]field // none: nothing is said
	keyed  bool             // it is by names: the object of each has the fields
	of     string           // it is the shape of this row
}

type field struct {
	optional bool
	inner    shape // of its object, or of those in its list
}

// printedAs is what the page says of a command.
type printedAs struct {
	kind string // object, list, one a line
	shape
}

// jsonManual is docs/json.md: its tables, and which of their rows a command was held against.
type jsonManual struct {
	rows  map[string]*printedAs // by the command, as the page writes it
	tried map[string]bool
}

var (
	jsonName  = regexp.MustCompile("^`([a-z][a-z0-9_]*)(?:\\[\\])?(\\?)?`")
	jsonKeyed = regexp.MustCompile(`^by [a-z ]+: `)
	jsonAsOf  = regexp.MustCompile("^as of `([^`]+)`")
)

// readJSONManual reads the tables of the page.
func readJSONManual(t *testing.T) *jsonManual {
	t.Helper()
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	m := &jsonManual{rows: map[string]*printedAs{}, tried: map[string]bool{}}
	var before []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		first := strings.TrimSpace(cells[0])
		same, again := strings.CutPrefix(first, "the same with ")
		if len(cells) != 3 || !again && !strings.HasPrefix(first, "`breakwater") {
			continue
		}
		var names []string
		if again {
			for _, name := range before {
				names = append(names, name+" "+strings.Trim(same, "`"))
			}
		} else {
			program := ""
			for _, name := range strings.Split(strings.ReplaceAll(first, "`", ""), ", ") {
				if strings.HasPrefix(name, "breakwater") {
					program, _, _ = strings.Cut(name, " ")
				} else {
					name = program + " " + name
				}
				names = append(names, name)
			}
			before = names
		}
		row := &printedAs{kind: strings.TrimSpace(cells[1]), shape: shapeOf(strings.TrimSpace(cells[2]))}
		for _, name := range names {
			m.rows[name] = row
		}
	}
	return m
}

// shapeOf reads the fields that a text names: those in code, each with what stands in
// parentheses behind it. After a semicolon there are remarks.
func shapeOf(text string) shape {
	if of := jsonAsOf.FindStringSubmatch(text); of != nil {
		if strings.HasPrefix(of[1], "breakwater") {
			return shape{of: of[1]}
		}
		return shape{of: "breakwater " + of[1]}
	}
	s := shape{fields: map[string]field{}}
	if by := jsonKeyed.FindString(text); by != "" {
		s.keyed, text = true, text[len(by):]
	}
	for text != "" && text[0] != ';' {
		name := jsonName.FindStringSubmatch(text)
		switch {
		case name != nil:
			text = strings.TrimPrefix(text[len(name[0]):], " ")
			f := field{optional: name[2] != ""}
			if strings.HasPrefix(text, "(") {
				inside := closed(text)
				text = text[len(inside)+2:]
				f.inner = shapeOf(inside)
			}
			if name[1] != "null" {
				s.fields[name[1]] = f
			}
		case text[0] == '(':
			text = text[len(closed(text))+2:]
		case text[0] == '`':
			_, rest, _ := strings.Cut(text[1:], "`")
			text = rest
		default:
			text = text[1:]
		}
	}
	return s
}

// closed is what stands in the parentheses that a text begins with.
func closed(text string) string {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			return text[1:i]
		}
	}
	return text[1:]
}

// answers runs a command of the program with --json, whatever its status, and holds what it
// prints against the page.
func (m *jsonManual) answers(t *testing.T, row, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append(args, "--json")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, _ := cmd.Output() // its status may say what it found
	if !m.holds(t, row, text) {
		t.Logf("%s says: %s", cmd, &stderr)
	}
	return text
}

// holds reports whether what a command printed is as the page says.
func (m *jsonManual) holds(t *testing.T, row string, text []byte) bool {
	t.Helper()
	said := m.rows[row]
	if said == nil {
		t.Errorf("docs/json.md has no row of %s", row)
		return false
	}
	m.tried[row] = true
	var faults []string
	all := map[string]any{} // the fields of all lines, where an object is one a line
	decoder := json.NewDecoder(bytes.NewReader(text))
	for decoder.More() {
		var answer any
		if err := decoder.Decode(&answer); err != nil {
			faults = append(faults, err.Error())
			break
		}
		object, is := answer.(map[string]any)
		if strings.HasPrefix(said.kind, "list") == is || is && object["format"] == nil {
			faults = append(faults, "it is no "+said.kind+", or does not say its format")
		}
		delete(object, "format")
		if said.kind == "one a line" {
			maps.Copy(all, object)
		} else {
			faults = append(faults, m.unlike(row, said.shape, answer)...)
		}
	}
	if said.kind == "one a line" {
		faults = m.unlike(row, said.shape, all)
	}
	if bare := string(bytes.TrimSpace(text)); bare == "" || bare == "[]" || bare == "null" {
		faults = append(faults, "it has nothing to print, so nothing is compared")
	}
	for _, fault := range faults {
		t.Errorf("%s: %s", row, fault)
	}
	if len(faults) > 0 {
		t.Logf("%s prints %.2000s", row, text)
	}
	return len(faults) == 0
}

// unlike says what in a value is not as its shape is: fields that the page does not have, and
// fields of the page that are not there.
func (m *jsonManual) unlike(path string, s shape, value any) (faults []string) {
	if row := m.rows[s.of]; row != nil {
		s = row.shape
	} else if s.of != "" {
		return []string{path + " is as of " + s.of + ", of which the page says nothing"}
	}
	if len(s.fields) == 0 {
		return nil
	}
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			faults = append(faults, m.unlike(path+"[]", s, element)...)
		}
	case map[string]any:
		if s.keyed {
			for key, element := range value {
				faults = append(faults, m.unlike(path+"."+key, shape{fields: s.fields}, element)...)
			}
			break
		}
		for name, inner := range value {
			if said, is := s.fields[name]; is {
				faults = append(faults, m.unlike(path+"."+name, said.inner, inner)...)
			} else {
				faults = append(faults, fmt.Sprintf("%s.%s is printed, and docs/json.md does not have it", path, name))
			}
		}
		for name, said := range s.fields {
			if _, is := value[name]; !is && !said.optional {
				faults = append(faults, fmt.Sprintf("%s.%s is in docs/json.md, and is not printed", path, name))
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// complete requires that every row was held against a command, but for those that are said why not.
func (m *jsonManual) complete(t *testing.T, untried map[string]string) {
	t.Helper()
	if len(m.rows) < 40 {
		t.Errorf("docs/json.md has %d rows", len(m.rows))
	}
	for row := range m.rows {
		if why := untried[row]; m.tried[row] == (why != "") {
			t.Errorf("%s: tried %v, and why not: %q", row, m.tried[row], why)
		}
	}
}
