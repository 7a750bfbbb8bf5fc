package registry

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// RetryMost is the longest that a source is left alone, whatever it asks for.
	RetryMost = time.Hour
	// retryLeast is for those who say that they may be asked at once.
	retryLeast = time.Second
	// retryTold is the longest that a client is told to wait: the edge itself asks sooner, or
	// somebody else.
	retryTold = time.Minute
)

// RetryAfter reads how long an answer asks to be left alone (Retry-After, RFC 9110, section
// 10.2.3): a second at least and RetryMost at most, 0 where it does not say. Of several
// headers the longest counts, also where something on the way has made them one.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	return longestUntil(h.Values("Retry-After"), now)
}

// longestUntil is the longest that is said by a header.
func longestUntil(values []string, now time.Time) (longest time.Duration) {
	for _, said := range values {
		before := ""
		for part := range strings.SplitSeq(said, ",") {
			longest = max(longest, Until(part, now), Until(before+","+part, now)) // a date has a comma of its own
			before = part
		}
	}
	return longest
}

// Until reads how long from now something ends, as RetryAfter does: seconds, with or without
// a fraction, a date, or the moment itself, which Docker Hub writes in seconds since 1970.
func Until(said string, now time.Time) time.Duration {
	said = strings.TrimSpace(said)
	at, err := http.ParseTime(said)
	if err != nil {
		number, ok := number(said)
		if !ok {
			return 0
		}
		if !isMoment(number) {
			return bounded(number * float64(time.Second))
		}
		at = moment(number)
	}
	return bounded(float64(at.Sub(now)))
}

func bounded(d float64) time.Duration {
	return time.Duration(max(float64(retryLeast), min(d, float64(RetryMost))))
}

// number reads digits, and a fraction; exponents, signs and words are no number of seconds.
func number(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// isMoment reports whether a number of seconds can only be a time since 1970: as a delay it
// would end years from now, and with more digits than nanoseconds have it is nothing.
func isMoment(seconds float64) bool { return seconds >= 1e8 && seconds < 1e20 }

// moment reads a time since 1970 in seconds or, where those would be millennia from now, in
// parts of them.
func moment(since float64) time.Time {
	unit := time.Second
	for since >= 1e11 && unit > 1 {
		since, unit = since/1000, unit/1000
	}
	return time.UnixMilli(int64(since * 1000))
}
