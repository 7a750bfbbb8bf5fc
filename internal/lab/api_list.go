package lab

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is an entry of a list: what is shown of it, and what it may be filtered
// and sorted by. Filters on anything else are ignored, as Harbor ignores them.
type row struct {
	view any
	keys map[string]any // int, int64, string, bool or time.Time, by lower-case name
}

// list answers with the page that is asked for, of the rows that q leaves, in the
// order that sort asks for. byDefault is the order when it asks for none.
func (c *apiCall) list(rows []row, byDefault string) error {
	filters, err := parseQ(c.r.URL.Query().Get("q"))
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool {
		return slices.ContainsFunc(filters, func(f filter) bool { return !f.admits(r) })
	})
	sortRows(rows, byDefault)
	sortRows(rows, c.r.URL.Query().Get("sort"))
	number, size, err := c.page()
	if err != nil {
		return err
	}
	c.links(len(rows), number, size)
	views := []any{}
	if from := (number - 1) * size; from >= 0 && from < len(rows) {
		for _, r := range rows[from:min(from+size, len(rows))] {
			views = append(views, r.view)
		}
	}
	return c.reply(views)
}

// page reads page and page_size.
func (c *apiCall) page() (number, size int, err error) {
	number, size = 1, 10
	for name, v := range map[string]*int{"page": &number, "page_size": &size} {
		if s := c.r.URL.Query().Get(name); s != "" {
			if *v, err = strconv.Atoi(s); err != nil {
				return 0, 0, invalid("%s in query must be of type int64: %q", name, s)
			}
		}
	}
	if size > 100 {
		return 0, 0, invalid("page_size in query should be less than or equal to 100")
	}
	return number, size, nil
}

// links writes the headers of a page of a list.
func (c *apiCall) links(total, number, size int) {
	c.w.Header().Set("X-Total-Count", strconv.Itoa(total))
	var all []string
	link := func(page int, rel string) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(page))
		q.Set("page_size", strconv.Itoa(size))
		raw := q.Encode()
		if plain, err := url.QueryUnescape(raw); err == nil {
			raw = plain
		}
		all = append(all, fmt.Sprintf(`<%s?%s>; rel="%s"`, c.r.URL.EscapedPath(), raw, rel))
	}
	if number > 1 && (number-1)*size < total {
		link(number-1, "prev")
	}
	if number*size < total {
		link(number+1, "next")
	}
	if len(all) > 0 {
		c.w.Header().Set("Link", strings.Join(all, " , "))
	}
}

// sortRows sorts by comma-separated keys, a minus before one turns it around.
func sortRows(rows []row, by string) {
	keys := strings.Split(by, ",")
	slices.SortStableFunc(rows, func(a, b row) int {
		for _, key := range keys {
			name, down := strings.CutPrefix(strings.ToLower(strings.TrimSpace(key)), "-")
			if n := compareKeys(a.keys[name], b.keys[name]); n != 0 {
				if down {
					return -n
				}
				return n
			}
		}
		return 0
	})
}

func compareKeys(a, b any) int {
	switch a := a.(type) {
	case int:
		return cmp.Compare(a, b.(int))
	case int64:
		return cmp.Compare(a, b.(int64))
	case string:
		return cmp.Compare(a, b.(string))
	case time.Time:
		return a.Compare(b.(time.Time))
	}
	return 0
}

// filter is one condition of q: a value, a part of it (~), any of several in
// parentheses or all of those in braces.
type filter struct {
	key    string
	values []string
	fuzzy  bool
}

func (f filter) admits(r row) bool {
	v, known := r.keys[f.key]
	if !known {
		return true
	}
	s := fmt.Sprint(v)
	return slices.ContainsFunc(f.values, func(want string) bool { return s == want || f.fuzzy && strings.Contains(s, want) })
}

// parseQ reads q=key=value,key=~part,key=(one two),key={'one' 'two'}.
func parseQ(q string) (all []filter, err error) {
	if q == "" {
		return nil, nil
	}
	for _, part := range strings.Split(q, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" {
			return nil, refusal(http.StatusBadRequest, "the query string value %q is invalid", part)
		}
		f := filter{key: strings.ToLower(strings.TrimSpace(key))}
		value = strings.TrimSpace(value)
		if n := len(value); n > 1 && (value[0] == '(' && value[n-1] == ')' || value[0] == '{' && value[n-1] == '}') {
			for _, v := range strings.Fields(value[1 : n-1]) {
				f.values = append(f.values, strings.Trim(v, `'"`))
			}
		} else {
			value, f.fuzzy = strings.CutPrefix(value, "~")
			f.values = []string{strings.Trim(value, `'"`)}
		}
		all = append(all, f)
	}
	return all, nil
}
