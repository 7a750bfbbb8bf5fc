package fleet

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// SchemaID names the schema; nothing is to be found there.
const SchemaID = "https://breakwater.example.org/fleet.schema.json"

// Schema is the JSON Schema (draft 2020-12) of the fleet file, for editors and pipelines. What
// it takes may still have faults: only check knows what goes with what.
func Schema() ([]byte, error) {
	root, err := manual()
	if err != nil {
		return nil, err
	}
	s := schemaOf(root)
	s["$schema"], s["$id"], s["title"] = "https://json-schema.org/draft/2020-12/schema", SchemaID, "The fleet file of breakwater"
	s["type"] = "object"
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

type object = map[string]any

// words are the types that are written as one word.
var words = map[reflect.Type]object{
	reflect.TypeFor[Duration]():    oneWord(`^([0-9]{1,5}d|0|(([0-9]+\.?[0-9]*|\.[0-9]+)(h|m|s|ms|us|µs|ns))+)$`, "2s", "15m", "6h", "30d"),
	reflect.TypeFor[Keeping]():     oneWord(`^(forever|[0-9]{1,5}d|0|(([0-9]+\.?[0-9]*|\.[0-9]+)(h|m|s|ms|us|µs|ns))+)$`, "30d", "forever", "0"),
	reflect.TypeFor[Size]():        oneWord(sizes.String(), "10GiB", "2TiB"),
	reflect.TypeFor[Ref]():         oneWord(`^(vault:[^#]+#.+|(file|env):.+)$`, "file:/etc/breakwater/secret", "env:SECRET", "vault:secret/harbor#admin-password"),
	reflect.TypeFor[Text]():        {"type": plain},
	reflect.TypeFor[URL]():         oneWord(`^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+/*$`, "https://harbor.par1.example.org"),
	reflect.TypeFor[Endpoint]():    oneWord(`^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?#]*)?$`, "https://quay.io"),
	reflect.TypeFor[Issuer]():      oneWord(`^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?#]*)?$`, "https://keycloak.example.org/realms/main"),
	reflect.TypeFor[Probed]():      oneWord(`^([Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^#]*)?|tcp://[^/?#@]+:[0-9]+|file:(//)?/.+)$`, "tcp://192.0.2.10:443"),
	reflect.TypeFor[Destination](): oneWord(`^(\*\.)?[^/?#@*:\s]+$|^\[?[0-9A-Fa-f:.]+\]?(/[0-9]{1,3})?$`, "storage.example.net", "*.example.net", "10.0.0.0/8"),
	reflect.TypeFor[Network]():     oneWord(`^[0-9A-Fa-f:.]+/[0-9]{1,3}$`, "10.1.0.0/16", "2001:db8:1::/48"),
	reflect.TypeFor[Addr]():        oneWord(`^[0-9A-Fa-f:.]+$`, "192.0.2.10", "2001:db8::10"),
	reflect.TypeFor[Copies]():      oneWord(copies.String(), "3", "all"),
	reflect.TypeFor[Flatten]():     oneWord(`^(all|none|[0-9]|1[0-6])$`, "all", "none"),
}

// plain is what may be written where a text is wanted. A key without a value is always the default.
var plain = []string{"string", "number", "boolean", "null"}

// numeric may be written as a number, too.
var numeric = map[reflect.Type]bool{reflect.TypeFor[Duration](): true, reflect.TypeFor[Size](): true, reflect.TypeFor[Flatten](): true, reflect.TypeFor[Keeping](): true, reflect.TypeFor[Copies](): true}

func oneWord(pattern string, examples ...string) object {
	return object{"type": []string{"string", "null"}, "pattern": pattern, "examples": examples}
}

func schemaOf(f *field) object {
	s := object{}
	for key, value := range words[f.kind] {
		s[key] = value
	}
	switch {
	case numeric[f.kind]:
		s["type"] = []string{"string", "integer", "null"}
	case len(s) > 0:
	case f.kind.Kind() == reflect.Struct || f.kind.Kind() == reflect.Map:
		s = blockOf(f)
	case f.kind.Kind() == reflect.Slice:
		s["type"], s["items"] = []string{"array", "null"}, schemaOf(f.each)
	case f.kind.Kind() == reflect.Bool:
		s["type"] = []string{"boolean", "null"}
	case f.kind.Kind() == reflect.Int:
		s["type"] = []string{"integer", "null"}
	case f.kind.Kind() == reflect.Float64:
		s["type"] = []string{"number", "null"}
	default:
		s["type"] = plain
	}
	if all := f.choices(); all != nil {
		values := []any{}
		if !f.required() {
			values = append(values, nil)
		}
		for _, choice := range all {
			values = append(values, choice)
		}
		s["enum"] = values
	}
	if f.required() {
		if types, ok := s["type"].([]string); ok {
			s["type"] = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return t == "null" })
		}
	}
	if f.path == "version" {
		s["enum"] = []any{Version, nil}
	}
	if f.text != "" {
		s["description"] = f.text
	}
	if f.initial != "" && !strings.HasPrefix(f.initial, "{") {
		s["default"] = valueOf(f)
	}
	return s
}

// blockOf is a block of fields, or of what has names that the file chooses.
func blockOf(f *field) object {
	s, fields := object{"type": []string{"object", "null"}, "additionalProperties": false}, object{}
	var required []string
	for _, own := range f.fields {
		fields[own.key] = schemaOf(own)
		if own.required() {
			required = append(required, own.key)
		}
	}
	if len(fields) > 0 {
		s["properties"] = fields
	}
	if required != nil {
		s["required"] = required
	}
	if f.each != nil {
		s["additionalProperties"], s["propertyNames"] = schemaOf(f.each), object{"maxLength": maxKey, "minLength": 1, "not": object{"const": "<<"}}
	}
	return s
}

// valueOf is a default as JSON has it.
func valueOf(f *field) any {
	switch f.kind.Kind() {
	case reflect.Bool:
		return f.initial == "true"
	case reflect.Int:
		if n, err := strconv.Atoi(f.initial); err == nil && !isScalar(f.kind) {
			return n
		}
	}
	return f.initial
}
