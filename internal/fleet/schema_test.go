package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plainly is a YAML text as JSON has it; ok is false where it is no YAML.
func plainly(t *testing.T, text []byte) (value any, ok bool) {
	t.Helper()
	if err := yaml.Load(text, &value); err != nil {
		return nil, false
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		return nil, false // a name that is no text
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	return value, err == nil
}

// What is shipped, and what is taken, the schema takes.
func TestTheSchemaTakesWhatIsSound(t *testing.T) {
	s := compiled(t)
	files := []string{"testdata/minimal.yaml", "testdata/every-field.yaml"}
	for _, pattern := range []string{"../../deploy/*.yaml", "../../deploy/helm/testdata/*fleet*.yaml"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	taken := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file, text); err != nil {
			t.Errorf("%v", err)
			continue
		}
		value, ok := plainly(t, text)
		if err := s.Validate(value); err != nil || !ok {
			t.Errorf("%s: %v", file, err)
		}
		taken++
	}
	if taken < 5 {
		t.Errorf("%d files", taken)
	}
	for _, c := range broken {
		if value, ok := plainly(t, []byte(c.text)); ok && c.line < 0 && !strings.HasPrefix(c.name, "UTF-16") {
			if err := s.Validate(value); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// ofShape are faults that need no more than the fields and their types to be seen.
var ofShape = regexp.MustCompile(`there is no such field|want (one value|fields|a list) here|want true or false|is not a (whole )?number|is no (duration|size)|this is a secret`)

// What is refused for its fields or types, the schema refuses.
func TestTheSchemaRefusesWhatIsNoFleet(t *testing.T) {
	s := compiled(t)
	refused := 0
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(file, text)
		if err == nil || !ofShape.MatchString(err.Error()) {
			continue
		}
		value, ok := plainly(t, text)
		if !ok {
			continue
		}
		refused++
		if s.Validate(value) == nil {
			t.Errorf("%s is taken, though\n%v", file, err)
		}
	}
	if refused < 5 {
		t.Errorf("%d files", refused)
	}
}

// elsewhere are fields that need not stand in every-field.yaml, as they stand there at another place,
// or exclude what does.
var elsewhere = regexp.MustCompile(`^projects\..+\.datacenters\.<name>\.|\.retention\.|^secrets\.vault\.login\.`)

// A value of the wrong shape is refused by decoder and schema, at every field.
func TestEachFieldHasOneShape(t *testing.T) {
	s, places := compiled(t), 0
	text, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	root, err := manual()
	if err != nil {
		t.Fatal(err)
	}
	root.walk(func(f *field) {
		if f.path == "" {
			return
		}
		wrong := []any{"one word"}
		if f.fields == nil && f.each == nil {
			wrong = []any{[]any{[]any{"x"}}}
			if words[f.kind] != nil && f.kind != reflect.TypeFor[Text]() || f.kind.Kind() == reflect.Bool || f.kind.Kind() == reflect.Int || f.kind.Kind() == reflect.Float64 || f.choices() != nil {
				wrong = append(wrong, "one word")
			}
		}
		for _, wrong := range wrong {
			value, _ := plainly(t, text)
			if !put(value, strings.Split(strings.ReplaceAll(f.path, "[]", ".[]"), "."), wrong) {
				if !elsewhere.MatchString(f.path) {
					t.Errorf("%s is not in testdata/every-field.yaml", f.path)
				}
				return
			}
			places++
			asJSON, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Load("f", asJSON); err == nil || wrong != "one word" && !ofShape.MatchString(err.Error()) {
				t.Errorf("%s: the decoder takes %v: %v", f.path, wrong, err)
			}
			if s.Validate(value) == nil {
				t.Errorf("%s: the schema takes %v", f.path, wrong)
			}
		}
	})
	if places < 200 {
		t.Errorf("%d places", places)
	}
}

// put sets what stands at a path in a value; a name that the file chooses is any. It is false
// where nothing stands.
func put(value any, path []string, to any) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if path[0] != key && (path[0] != "<name>" || key == "defaults") {
				continue
			}
			if len(path) == 1 {
				v[key] = to
				return true
			}
			if put(v[key], path[1:], to) {
				return true
			}
		}
	case []any:
		if len(v) > 0 && path[0] == "[]" {
			if len(path) > 1 {
				return put(v[0], path[1:], to)
			}
			v[0] = to
			return true
		}
	}
	return false
}

// The fields of the schema are those that the decoder knows, at every place.
func TestTheSchemaHasTheDecodersFields(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	places := 0
	var look func(s map[string]any, path []string)
	look = func(s map[string]any, path []string) {
		fields, _ := s["properties"].(map[string]any)
		if fields != nil && s["additionalProperties"] == false {
			places++
			want := alsoDecoded(slices.Collect(maps.Keys(fields)), path)
			if got := known(t, path); !slices.Equal(got, want) {
				t.Errorf("%v: the decoder knows %v, the schema %v", path, got, want)
			}
		}
		for key, below := range fields {
			look(below.(map[string]any), append(slices.Clone(path), key))
		}
		if each, ok := s["additionalProperties"].(map[string]any); ok {
			look(each, append(slices.Clone(path), "a"))
		}
		if each, ok := s["items"].(map[string]any); ok {
			look(each, append(slices.Clone(path), "[]"))
		}
	}
	look(root, nil)
	if places < 40 {
		t.Errorf("%d places", places)
	}
}

// alsoDecoded adds what the decoder knows and check refuses there.
func alsoDecoded(fields, path []string) []string {
	all := append(fields, idleAt[strings.Join(path, ".")]...)
	if n := len(path); n > 2 && path[n-2] == "datacenters" && path[0] == "projects" {
		all = append(all, "datacenters")
		if path[1] == "multi-dc" {
			all = append(all, "copies")
		}
	}
	slices.Sort(all)
	return all
}

// known asks the decoder which fields it knows at a place.
func known(t *testing.T, path []string) []string {
	t.Helper()
	text := "{ no-such-field-anywhere: 1 }"
	for _, key := range slices.Backward(path) {
		if key == "[]" {
			text = "[" + text + "]"
		} else {
			text = fmt.Sprintf("{ %q: %s }", key, text)
		}
	}
	_, err := Load("f", []byte(text))
	if err == nil {
		t.Fatalf("%v: a field that nobody knows was taken", path)
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if _, list, ok := strings.Cut(line, "there is no such field; known here: "); ok {
			all := strings.Split(list, ", ")
			return slices.DeleteFunc(all, func(key string) bool { return key == "*" })
		}
	}
	t.Fatalf("%v: %v", path, err)
	return nil
}
