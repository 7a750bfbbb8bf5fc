package source

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/registry"
)

// rate is what is left of an upstream's limit.
type rate struct {
	left   int
	resets time.Duration // when there is more; 0: it does not say
}

// readRate reads what an answer says of a limit: "ratelimit-remaining: 76;w=21600", as Docker
// Hub writes it, "RateLimit: limit=100, remaining=76, reset=30" or "RateLimit: "x";r=76;t=30",
// as drafts of the IETF have it. Of several limits the one with the least left counts.
func readRate(h http.Header, now time.Time) (least rate, ok bool) {
	take := func(r rate) {
		if !ok || r.left < least.left || r.left == least.left && r.resets > least.resets {
			least, ok = r, true
		}
	}
	for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
		if left, said := leftOf(h.Get(prefix + "Remaining")); said {
			reset, _, _ := strings.Cut(h.Get(prefix+"Reset"), ";")
			take(rate{left, registry.Until(reset, now)})
		}
	}
	for _, line := range h.Values("Ratelimit") {
		separator := "," // of limits; in the older draft it separates what is said of the only one
		if !strings.Contains(line, ";") {
			separator = "\n"
		}
		for _, limit := range strings.Split(line, separator) {
			said := map[string]string{}
			for _, part := range strings.FieldsFunc(limit, func(r rune) bool { return r == ',' || r == ';' }) {
				name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
				said[strings.ToLower(name)] = value
			}
			if left, found := leftOf(said["remaining"] + said["r"]); found {
				take(rate{left, registry.Until(said["reset"]+said["t"], now)})
			}
		}
	}
	return least, ok
}

func leftOf(s string) (left int, ok bool) {
	s, _, _ = strings.Cut(s, ";")
	left, err := strconv.Atoi(strings.TrimSpace(s))
	return left, err == nil && left >= 0
}
