package lab

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// filters are the q of a list: name=x is exact, name=~x contains.
func filters(r *http.Request) map[string]string {
	all := map[string]string{}
	for _, part := range strings.Split(r.URL.Query().Get("q"), ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			all[strings.ToLower(k)] = v
		}
	}
	return all
}

// matches reports whether a value is as a filter says; no filter takes all.
func matches(filter, value string) bool {
	if part, ok := strings.CutPrefix(filter, "~"); ok {
		return strings.Contains(value, part)
	}
	return filter == "" || filter == value
}

// writePage writes the page of a list that the request asks for.
func writePage[T any](w http.ResponseWriter, r *http.Request, all []T) {
	query := r.URL.Query()
	number := func(key string, fallback int) int {
		n, err := strconv.Atoi(query.Get(key))
		if err != nil || n < 1 {
			return fallback
		}
		return n
	}
	page, size := number("page", 1), number("page_size", 10)
	if size > 100 {
		coreError(w, http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY", "validation failure list:\npage_size in query should be less than or equal to 100")
		return
	}
	from, to := min((page-1)*size, len(all)), min(page*size, len(all))
	var links []string
	link := func(page int, rel string) {
		query := url.Values{}
		for k, v := range r.URL.Query() {
			query[k] = v
		}
		query.Set("page", strconv.Itoa(page))
		query.Set("page_size", strconv.Itoa(size))
		text, _ := url.QueryUnescape(query.Encode())
		links = append(links, fmt.Sprintf("<%s?%s>; rel=%q", r.URL.Path, text, rel))
	}
	if page > 1 && from < len(all) {
		link(page-1, "prev")
	}
	if to < len(all) {
		link(page+1, "next")
	}
	if len(links) > 0 {
		w.Header().Set("Link", strings.Join(links, " , "))
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(len(all)))
	writeJSON(w, http.StatusOK, apiJSON, append([]T{}, slices.Clip(all[from:to])...))
}

// pathID is the number in a path; -1 if it is none.
func pathID(r *http.Request, name string) int {
	id, err := strconv.Atoi(r.PathValue(name))
	if err != nil {
		return -1
	}
	return id
}

func badRequest(w http.ResponseWriter, format string, args ...any) {
	coreError(w, http.StatusBadRequest, "BAD_REQUEST", fmt.Sprintf(format, args...))
}

func missing(w http.ResponseWriter, format string, args ...any) {
	coreError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf(format, args...))
}

func conflict(w http.ResponseWriter, format string, args ...any) {
	coreError(w, http.StatusConflict, "CONFLICT", fmt.Sprintf(format, args...))
}

func precondition(w http.ResponseWriter, format string, args ...any) {
	coreError(w, http.StatusPreconditionFailed, "PRECONDITION", fmt.Sprintf(format, args...))
}

func unknown(w http.ResponseWriter) {
	coreError(w, http.StatusInternalServerError, "UNKNOWN", "internal server error")
}
