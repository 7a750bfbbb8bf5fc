package fleet

import "reflect"

// In is the project as the datacenter has it: what the datacenter says for itself, over the rest.
func (m *MultiDC) In(datacenter string) *MultiDC { return overlaid(m, m.Datacenters[datacenter]) }

// In is the cache as the datacenter has it.
func (c *Cache) In(datacenter string) *Cache { return overlaid(c, c.Datacenters[datacenter]) }

// In is the project as the datacenter has it.
func (r *Repl) In(datacenter string) *Repl { return overlaid(r, r.Datacenters[datacenter]) }

func overlaid[T any](base, over *T) *T {
	out := *base
	v := reflect.ValueOf(&out).Elem()
	if over != nil {
		overlay(v, reflect.ValueOf(over).Elem())
	}
	v.FieldByName("Datacenters").SetZero()
	return &out
}

// overlay sets what is set in over; of structs within, field by field.
func overlay(v, over reflect.Value) {
	for i := range over.NumField() {
		field, target := over.Field(i), v.Field(i)
		_, one := target.Addr().Interface().(scalar)
		switch {
		case field.IsZero():
		case field.Kind() == reflect.Struct && !one:
			overlay(target, field)
		default:
			target.Set(field)
		}
	}
}
