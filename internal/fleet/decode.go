package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"example.org/breakwater/internal/naming"
)

// decoder turns a node tree into the structs of this package. It does what the
// library's own decoding does not: it goes on after a fault, it knows the path
// of every value, and it remembers on which line each of them stands.
type decoder struct {
	file   string
	lines  map[string]int // by path
	faults Faults
	nodes  int
	depth  int
	order  []string // the names of the datacenters
}

// maxNodes bounds the tree, aliases followed: a file of aliases of aliases is
// small on disk and endless when it is read.
const maxNodes = 100_000

// maxDepth and maxKey bound the paths: an alias may stand inside of what it
// names, and then the tree has no end.
const (
	maxDepth = 16
	maxKey   = 128
)

// maxFaults is more than anybody mends in one go.
const maxFaults = 1000

// scalar is a type that is written as one word.
type scalar interface{ parse(text string) error }

func (d *decoder) load(data []byte, into any) bool {
	var root yaml.Node
	if len(bytes.TrimSpace(data)) > 0 {
		if err := yaml.Load(data, &root); err != nil {
			d.syntax(err)
			return false
		}
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 {
		d.faults = append(d.faults, Fault{File: d.file, Message: "the file is empty; begin with domain and datacenters"})
		return false
	}
	d.decode(root.Content[0], "", reflect.ValueOf(into).Elem())
	return true
}

var lineInError = regexp.MustCompile(`(?:line |-L|at L)(\d+)`)

func (d *decoder) syntax(err error) {
	line := 0
	for _, m := range lineInError.FindAllStringSubmatch(err.Error(), -1) { // the last is where reading ended
		line, _ = strconv.Atoi(m[1])
	}
	message, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
	if strings.Contains(message, "anchor") { // the parser repeats what may be a password that begins with *
		message = "an alias names nothing; quote a value that begins with *"
	}
	d.faults = append(d.faults, Fault{File: d.file, Line: max(line, 1), Message: "the file is not YAML: " + message})
}

// report notes a fault at a path, on the line of the nearest path that is in the file.
// What follows from a fault that is already noted there is not reported again.
func (d *decoder) report(path, format string, args ...any) {
	if len(d.faults) >= maxFaults {
		return
	}
	for _, f := range d.faults {
		if f.Field == path || strings.HasPrefix(f.Field, path+"[") {
			return
		}
	}
	line, ok := d.lines[path]
	for at := path; !ok && at != ""; line, ok = d.lines[at] {
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	d.faults = append(d.faults, Fault{File: d.file, Line: max(line, 1), Field: path, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.report(path, "the file is larger than it looks; write less by alias")
		}
		return
	}
	if d.depth++; d.depth > maxDepth {
		d.report(path, "the file is nested too deeply; an alias may stand inside of what it names")
		d.depth--
		return
	}
	defer func() { d.depth-- }()
	if n.Kind == yaml.AliasNode {
		d.decode(n.Alias, path, v)
		return
	}
	if _, seen := d.lines[path]; !seen {
		d.lines[path] = n.Line
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, path, v.Elem())
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a key without a value: the default
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		d.decodeScalar(n, path, s)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, path, v)
	case reflect.Map:
		d.decodeMap(n, path, v)
	case reflect.Slice:
		d.decodeSlice(n, path, v)
	default:
		d.decodeBasic(n, path, v)
	}
}

func (d *decoder) decodeScalar(n *yaml.Node, path string, s scalar) {
	if n.Kind != yaml.ScalarNode {
		d.report(path, "want one value here, not a %s", kindName(n))
		return
	}
	if err := s.parse(n.Value); err != nil {
		d.report(path, "%v", err)
	}
}

// decodeStruct takes a mapping with known keys. A field tagged "*" is a map that
// takes the others.
func (d *decoder) decodeStruct(n *yaml.Node, path string, v reflect.Value) {
	if !d.isMapping(n, path) {
		return
	}
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "" {
			fields[key] = v.Field(i)
		}
	}
	d.eachKey(n, path, func(key string, value *yaml.Node, at string) {
		if field, ok := fields[key]; ok && key != "*" {
			d.decode(value, at, field)
		} else if rest, ok := fields["*"]; ok {
			d.putMap(rest, key, value, at)
		} else {
			d.report(at, "there is no such field%s", nearest(key, fields))
		}
	})
}

func (d *decoder) decodeMap(n *yaml.Node, path string, v reflect.Value) {
	if d.isMapping(n, path) {
		d.eachKey(n, path, func(key string, value *yaml.Node, at string) { d.putMap(v, key, value, at) })
	}
}

func (d *decoder) putMap(v reflect.Value, key string, value *yaml.Node, at string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	element := reflect.New(v.Type().Elem()).Elem()
	if element.Kind() == reflect.Pointer {
		element.Set(reflect.New(element.Type().Elem()))
	}
	d.decode(value, at, element)
	v.SetMapIndex(reflect.ValueOf(key), element)
}

func (d *decoder) decodeSlice(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.report(path, "want a list here, not a %s; write [a, b]", kindName(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.decode(item, fmt.Sprintf("%s[%d]", path, i), list.Index(i))
	}
	v.Set(list)
}

func (d *decoder) decodeBasic(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.report(path, "want one value here, not a %s", kindName(n))
		return
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			err = errors.New("want true or false")
		}
		v.SetBool(n.Value == "true")
	case reflect.Int:
		var i int64
		if i, err = strconv.ParseInt(n.Value, 10, 32); err != nil {
			err = fmt.Errorf("%q is not a whole number", n.Value)
		}
		v.SetInt(i)
	case reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(n.Value, 64); err != nil {
			err = fmt.Errorf("%q is not a number", n.Value)
		}
		v.SetFloat(x)
	default:
		err = fmt.Errorf("the field's type %s cannot be read", v.Type())
	}
	if err != nil {
		d.report(path, "%v", err)
	}
}

func (d *decoder) isMapping(n *yaml.Node, path string) bool {
	if n.Kind != yaml.MappingNode {
		d.report(path, "want fields here, not a %s", kindName(n))
		return false
	}
	return true
}

// eachKey calls do for each key of a mapping, and reports those that stand twice.
func (d *decoder) eachKey(n *yaml.Node, path string, do func(key string, value *yaml.Node, at string)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i].Value, n.Content[i].Value
		if len(key) > maxKey {
			d.faults = append(d.faults, Fault{File: d.file, Line: n.Content[i].Line, Field: path, Message: fmt.Sprintf("it holds a name of more than %d bytes", maxKey)})
			continue
		}
		if path != "" {
			at = path + "." + key
		}
		if line, twice := first[key]; twice {
			d.faults = append(d.faults, Fault{File: d.file, Line: n.Content[i].Line, Field: at, Message: fmt.Sprintf("it stands on line %d already; keep one of the two", line)})
			continue
		}
		first[key] = n.Content[i].Line
		if _, seen := d.lines[at]; !seen {
			d.lines[at] = n.Content[i].Line
		}
		if path == "datacenters" {
			d.order = append(d.order, key)
		}
		do(key, n.Content[i+1], at)
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "block of fields"
	case yaml.SequenceNode:
		return "list"
	}
	return "single value"
}

// nearest proposes the known key that a mistyped one is likely to mean.
func nearest(key string, fields map[string]reflect.Value) string {
	known := slices.Sorted(maps.Keys(fields))
	if best := naming.Nearest(key, known); best != "" {
		return fmt.Sprintf("; do you mean %s?", best)
	}
	return "; known here: " + strings.Join(known, ", ")
}
