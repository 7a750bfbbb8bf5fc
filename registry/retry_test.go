package registry

import (
	"net/http"
	"testing"
	"time"
)

// However a pause is spelled, it is one: neither none, nor one of decades.
func TestRetryAfterInAllItsSpellings(t *testing.T) {
	now := time.Unix(1_800_000_000, 0) // 15 Jan 2027 08:00:00
	for name, c := range map[string]struct {
		said []string
		want time.Duration
	}{
		"nothing":                         {nil, 0},
		"empty":                           {[]string{""}, 0},
		"seconds":                         {[]string{"120"}, 2 * time.Minute},
		"seconds between spaces":          {[]string{" 120 "}, 2 * time.Minute},
		"a fraction":                      {[]string{"2.5"}, 2500 * time.Millisecond},
		"a part of a second":              {[]string{".25"}, time.Second},
		"at once":                         {[]string{"0"}, time.Second},
		"a day":                           {[]string{"86400"}, time.Hour},
		"more digits than any number has": {[]string{"99999999999999999999999999"}, time.Hour},
		"the moment in seconds":           {[]string{"1800000005"}, 5 * time.Second},
		"with a fraction":                 {[]string{"1800000005.5"}, 5500 * time.Millisecond},
		"in milliseconds":                 {[]string{"1800000005500"}, 5500 * time.Millisecond},
		"in microseconds":                 {[]string{"1800000005500000"}, 5500 * time.Millisecond},
		"in nanoseconds":                  {[]string{"1800000005500000000"}, 5500 * time.Millisecond},
		"a moment that is past":           {[]string{"1799999995"}, time.Second},
		"a moment next year":              {[]string{"1830000000"}, time.Hour},
		"a date":                          {[]string{"Fri, 15 Jan 2027 08:01:00 GMT"}, time.Minute},
		"a date of RFC 850":               {[]string{"Friday, 15-Jan-27 08:01:00 GMT"}, time.Minute},
		"a date of C":                     {[]string{"Fri Jan 15 08:01:00 2027"}, time.Minute},
		"a date that is past":             {[]string{"Thu, 14 Jan 2027 08:00:00 GMT"}, time.Second},
		"a date next year":                {[]string{"Sat, 15 Jan 2028 08:00:00 GMT"}, time.Hour},
		"less than nothing":               {[]string{"-5"}, 0},
		"words":                           {[]string{"soon"}, 0},
		"a number with an exponent":       {[]string{"1e3"}, 0},
		"no number":                       {[]string{"NaN"}, 0},
		"two dots":                        {[]string{"1.2.3"}, 0},
		"several in one":                  {[]string{"1, 2"}, 2 * time.Second},
		"the longest first":               {[]string{"20,5"}, 20 * time.Second},
		"nothing beside it":               {[]string{", 20,"}, 20 * time.Second},
		"a date and seconds":              {[]string{"Fri, 15 Jan 2027 08:01:00 GMT, 5"}, time.Minute},
		"seconds and a date":              {[]string{"5, Fri, 15 Jan 2027 08:01:00 GMT"}, time.Minute},
		"two dates":                       {[]string{"Friday, 15-Jan-27 08:00:30 GMT, Fri, 15 Jan 2027 08:01:00 GMT"}, time.Minute},
		"a date of C and seconds":         {[]string{"Fri Jan 15 08:01:00 2027, 5"}, time.Minute},
		"words and a number":              {[]string{"soon, 20"}, 20 * time.Second},
		"several":                         {[]string{"5", "20", "soon"}, 20 * time.Second},
	} {
		h := http.Header{}
		if c.said != nil {
			h["Retry-After"] = c.said
		}
		if got := RetryAfter(h, now); got != c.want {
			t.Errorf("%s %q: %v, want %v", name, c.said, got, c.want)
		}
	}
}
