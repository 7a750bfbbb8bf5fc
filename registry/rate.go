package registry

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Rate is what is left of a source's limit.
type Rate struct {
	Left   int
	Resets time.Duration // when there is more, as RetryAfter has it; 0: it does not say
}

// Pause reads how long an answer asks to be left alone: by RetryAfter, and where a 429 has
// none, until there is more of its limit. 0: it does not say.
func Pause(resp *http.Response, now time.Time) time.Duration {
	after := RetryAfter(resp.Header, now)
	if after == 0 && resp.StatusCode == http.StatusTooManyRequests {
		spent, _ := readRate(resp.Header, now, true)
		after = spent.Resets
	}
	return after
}

// ReadRate reads what an answer says of a limit: "ratelimit-remaining: 76;w=21600", as Docker
// Hub writes it, "RateLimit: limit=100, remaining=76, reset=30" or "RateLimit: "x";r=76;t=30",
// as drafts of the IETF have it. Of several limits the one with the least left counts.
func ReadRate(h http.Header, now time.Time) (least Rate, ok bool) { return readRate(h, now, false) }

// readRate is ReadRate. Of an answer that was refused for its limit nothing is left, where it
// says only when there is more.
func readRate(h http.Header, now time.Time, refused bool) (least Rate, ok bool) {
	take := func(left string, resets time.Duration) {
		left, _, _ = strings.Cut(left, ";")
		n, err := strconv.Atoi(strings.TrimSpace(left))
		if said := err == nil && n >= 0; !said {
			if n = 0; !refused || resets == 0 {
				return
			}
		}
		if r := (Rate{n, resets}); !ok || r.Left < least.Left || r.Left == least.Left && r.Resets > least.Resets {
			least, ok = r, true
		}
	}
	for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-", "X-Rate-Limit-"} {
		reset, _, _ := strings.Cut(h.Get(prefix+"Reset"), ";")
		take(h.Get(prefix+"Remaining"), longestUntil([]string{reset}, now))
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
			take(said["remaining"]+said["r"], Until(said["reset"]+said["t"], now))
		}
	}
	return least, ok
}
