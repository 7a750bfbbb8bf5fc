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

// Who refuses for a limit may say only when there is more of it, in the words that the drafts
// of the IETF and others have for that.
func TestA429SaysWhenThereIsMore(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		status int
		header http.Header
		want   time.Duration
	}{
		"the one header":             {429, http.Header{"Ratelimit": {"limit=100, remaining=0, reset=30"}}, 30 * time.Second},
		"the reset alone":            {429, http.Header{"Ratelimit": {"reset=30"}}, 30 * time.Second},
		"the limit and the reset":    {429, http.Header{"Ratelimit": {"limit=100, reset=30"}}, 30 * time.Second},
		"the newer draft":            {429, http.Header{"Ratelimit": {`"default";r=0;t=30`}}, 30 * time.Second},
		"and the reset alone":        {429, http.Header{"Ratelimit": {`"default";t=30`}}, 30 * time.Second},
		"two limits, one is spent":   {429, http.Header{"Ratelimit": {`"burst";r=9;t=500, "day";r=0;t=30`}}, 30 * time.Second},
		"two that say only when":     {429, http.Header{"Ratelimit": {`"burst";t=5, "day";t=30`}}, 30 * time.Second},
		"a header of its own":        {429, http.Header{"Ratelimit-Reset": {"30"}}, 30 * time.Second},
		"with what is left":          {429, http.Header{"Ratelimit-Reset": {"30"}, "Ratelimit-Remaining": {"0;w=60"}}, 30 * time.Second},
		"with a window":              {429, http.Header{"Ratelimit-Reset": {"30;w=60"}}, 30 * time.Second},
		"the moment":                 {429, http.Header{"X-Ratelimit-Reset": {"1800000030"}}, 30 * time.Second},
		"a date":                     {429, http.Header{"X-Ratelimit-Reset": {"Fri, 15 Jan 2027 08:00:30 GMT"}}, 30 * time.Second},
		"spelled otherwise":          {429, http.Header{"X-Rate-Limit-Reset": {"30"}}, 30 * time.Second},
		"a day":                      {429, http.Header{"Ratelimit-Reset": {"86400"}}, time.Hour},
		"at once":                    {429, http.Header{"Ratelimit-Reset": {"0"}}, time.Second},
		"words":                      {429, http.Header{"Ratelimit-Reset": {"soon"}, "Ratelimit": {"reset=soon"}}, 0},
		"Retry-After goes before it": {429, http.Header{"Ratelimit-Reset": {"30"}, "Retry-After": {"20"}}, 20 * time.Second},
		"but not what is none":       {429, http.Header{"Ratelimit-Reset": {"30"}, "Retry-After": {"soon"}}, 30 * time.Second},
		"503 is of no limit":         {503, http.Header{"Ratelimit-Reset": {"30"}, "Ratelimit": {"remaining=0, reset=30"}}, 0},
		"503 with Retry-After":       {503, http.Header{"Ratelimit-Reset": {"30"}, "Retry-After": {"20"}}, 20 * time.Second},
		"nothing":                    {429, http.Header{}, 0},
	} {
		if got := Pause(&http.Response{StatusCode: c.status, Header: c.header}, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
