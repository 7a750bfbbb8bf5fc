package fleet

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

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

	noBlocks []string // paths of what has no fields, where fields are wanted
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

// maxValue bounds what a fault may repeat.
const maxValue = 4096

// maxFaults is more than anybody mends in one go.
const maxFaults = 1000

// scalar is a type that is written as one word.
type scalar interface{ parse(text string) error }

func (d *decoder) load(data []byte, into any) bool {
	text, ok := d.text(data)
	if !ok {
		return false
	}
	root := d.parse(text)
	if root == nil && len(d.faults) > 0 {
		return false
	}
	if root == nil || len(root.Content) == 0 || isNull(root.Content[0]) {
		d.faults = append(d.faults, Fault{File: d.file, Message: "the file is empty; begin with domain and datacenters, or let breakwater init write it"})
		return false
	}
	d.decode(root.Content[0], "", reflect.ValueOf(into).Elem())
	return root.Content[0].Kind == yaml.MappingNode // of anything else only that is to be said
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
	for _, block := range d.noBlocks {
		if strings.HasPrefix(path, block+".") {
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
		if isNull(n) {
			return // a key without a value: absent, not zero
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, path, v.Elem())
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.report(path, "tags (as %s) are not taken; write the value as it is, in quotes if it begins with !", n.ShortTag())
		return
	}
	if len(n.Value) > maxValue {
		d.report(path, "the value is longer than %d bytes; is a quote missing?", maxValue)
		return
	}
	if isNull(n) {
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

// isBlock reports whether a type is written as a block of fields.
func isBlock(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]())
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *decoder) notOne(n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode {
		d.report(path, "want one value here, not a list; write it without brackets and dashes")
		return
	}
	if len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode {
		d.report(path, "want one value here, not {{ }}; what a template has in braces is filled in before")
		return
	}
	d.report(path, "want one value here, not a block of fields; quote a value that begins with {")
}

func (d *decoder) decodeScalar(n *yaml.Node, path string, s scalar) {
	if n.Kind != yaml.ScalarNode {
		d.notOne(n, path)
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
		example := "[a, b]"
		if isBlock(v.Type().Elem()) {
			example = "its fields in braces, and brackets around them: [{ name: value }]"
		}
		d.report(path, "want a list here, not a %s; write %s", kindName(n), example)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if d.nodes > maxNodes {
			break
		}
		d.decode(item, fmt.Sprintf("%s[%d]", path, i), list.Index(i))
	}
	v.Set(list)
}

func (d *decoder) decodeBasic(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.notOne(n, path)
		return
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			err = errors.New("want true or false" + meansTruth(n.Value))
		}
		v.SetBool(n.Value == "true")
	case reflect.Int:
		var i int64
		if i, err = strconv.ParseInt(n.Value, 10, 32); err != nil {
			err = fmt.Errorf("%q is not a whole number", n.Value)
		} else if text := strings.TrimLeft(n.Value, "+-"); text[0] == '0' && text != "0" {
			err = fmt.Errorf("%q is octal to some programs and decimal to others; write it without the zero in front", n.Value)
		}
		v.SetInt(i)
	case reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(n.Value, 64); err != nil || !number.MatchString(n.Value) {
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

var number = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// meansTruth proposes what other dialects of YAML mean.
func meansTruth(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "true":
		return "; write true"
	case "no", "off", "n", "false":
		return "; write false"
	}
	return ""
}

func (d *decoder) isMapping(n *yaml.Node, path string) bool {
	if n.Kind != yaml.MappingNode {
		instead := "write name: value, each on its own line"
		if n.Kind == yaml.SequenceNode {
			instead = "write the names without dashes and brackets"
		}
		d.report(path, "want fields here, not a %s; %s", kindName(n), instead)
		d.noBlocks = append(d.noBlocks, path)
		return false
	}
	return true
}

// eachKey calls do for each key of a mapping, and reports those that stand twice.
func (d *decoder) eachKey(n *yaml.Node, path string, do func(key string, value *yaml.Node, at string)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if wrong := noName(name); wrong != "" {
			d.faultAt(name.Line, path, wrong)
			continue
		}
		key, at := name.Value, name.Value
		if path != "" {
			at = path + "." + key
		}
		if line, twice := first[key]; twice {
			d.faultAt(name.Line, at, fmt.Sprintf("it stands on line %d already; keep one of the two", line))
			continue
		}
		first[key] = name.Line
		if _, seen := d.lines[at]; !seen {
			d.lines[at] = name.Line
		}
		if path == "datacenters" {
			d.order = append(d.order, key)
		}
		do(key, n.Content[i+1], at)
	}
}

// noName says why a key names no field, project or datacenter; "": it may.
func noName(n *yaml.Node) string {
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
	invisible := strings.IndexFunc(n.Value, func(r rune) bool { return !unicode.IsGraphic(r) || r != ' ' && unicode.IsSpace(r) })
	switch {
	case n.Kind == yaml.AliasNode:
		return "a name is no alias; write it out"
	case n.Kind != yaml.ScalarNode:
		return "a name is one word, no list and no block of fields; what a template has in braces is filled in before"
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Sprintf("tags (as %s) are not taken; write the name as it is", n.ShortTag())
	case n.Value == "<<" && plain:
		return "merge keys (<<) are not taken; write what projects share under defaults, and the rest out"
	case isNull(n) || n.Value == "":
		return "a name is missing before the colon; quote one that is ~ or null"
	case len(n.Value) > maxKey:
		return fmt.Sprintf("it holds a name of more than %d bytes", maxKey)
	case invisible >= 0:
		r, _ := utf8.DecodeRuneInString(n.Value[invisible:])
		return fmt.Sprintf("there is a character in a name that nobody sees (%U); write the name again, with plain spaces before it", r)
	}
	return ""
}

func (d *decoder) faultAt(line int, path, message string) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{File: d.file, Line: line, Field: path, Message: message})
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
