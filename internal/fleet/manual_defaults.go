package fleet

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"example.org/breakwater/internal/naming"
)

// setInitial gives the fields the defaults that a file gets that writes none of them. Those
// that depend on the rest of the file are told by their texts.
func setInitial(root *field) {
	f := &Fleet{Domain: "<domain>", Datacenters: map[string]*Datacenter{"<name>": {}}, GSLB: &GSLB{}}
	open(reflect.ValueOf(f).Elem())
	f.Projects.MultiDC.Items = map[string]*MultiDC{"<name>": {}}
	f.Projects.Cache.Items = map[string]*Cache{"<name>": {}}
	f.Projects.Repl.Items = map[string]*Repl{"<name>": {Images: []Image{{}}}}
	f.setDefaults()
	f.Domain = ""
	all := map[string]string{}
	collect(reflect.ValueOf(f).Elem(), "", all)
	root.walk(func(f *field) {
		if !strings.Contains(f.text, "absent:") && !f.required() {
			f.initial = all[f.path]
		}
	})
}

// open makes the blocks that are not there unless they are written.
func open(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if t := v.Type().Elem(); v.IsNil() && t.Kind() == reflect.Struct && t != reflect.TypeFor[Retention]() {
			v.Set(reflect.New(t))
		}
		if !v.IsNil() {
			open(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("yaml") != "" {
				open(v.Field(i))
			}
		}
	}
}

// collect writes down what is set, by path.
func collect(v reflect.Value, path string, all map[string]string) {
	given := v.Kind() == reflect.Pointer // to false, 0s and "" also
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch {
	case isScalar(v.Type()) || v.Kind() < reflect.Array || v.Kind() == reflect.String:
		if given || !v.IsZero() {
			all[path] = fmt.Sprint(v.Interface())
		}
	case v.Type() == reflect.TypeFor[Retention]():
		all[path] = v.Interface().(Retention).String()
	case v.Kind() == reflect.Map:
		for _, key := range v.MapKeys() {
			collect(v.MapIndex(key), join(path, key.String()), all)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), path+"[]", all)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			switch key := v.Type().Field(i).Tag.Get("yaml"); key {
			case "":
			case "*":
				collect(v.Field(i), path, all)
			default:
				collect(v.Field(i), join(path, key), all)
			}
		}
	}
}

// String is the rules as they are written.
func (r Retention) String() string {
	var rules []string
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			rules = append(rules, fmt.Sprintf("%s: %v", v.Type().Field(i).Tag.Get("yaml"), v.Field(i).Interface()))
		}
	}
	return "{ " + strings.Join(rules, ", ") + " }"
}

// String is as it is written.
func (f Flatten) String() string {
	switch f.Count {
	case naming.FlattenAll:
		return "all"
	case 0:
		return "none"
	}
	return strconv.Itoa(int(f.Count))
}
