package lists

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"example.org/breakwater/internal/trial"
)

var html = http.Header{"Content-Type": {"text/html; charset=utf-8"}}

// coded is a refusal in a registry's words.
func coded(status int, code string) trial.Answer {
	return trial.Answer{Status: status, Body: `{"errors":[{"code":"` + code + `","message":"x"}]}`}
}

// elsewhere leads to the other host, which says that status (withoutAPI).
func elsewhere(status int) trial.Answer {
	return trial.Answer{Status: 307, Header: http.Header{"Location": {fmt.Sprint("/elsewhere/", status)}}}
}

// What an upstream's answer to the referrers API says of the API.
const lacks, breaksOff, perhapsLacks, fails = "lacks it", "breaks off", "perhaps", "fails"

// withoutAPI are answers to the referrers API, and what each says.
var withoutAPI = map[string]struct {
	says trial.Answer
	is   string
}{
	"404":                       {coded(404, "UNSUPPORTED"), lacks},
	"404, no such name":         {coded(404, "NAME_UNKNOWN"), lacks},
	"404 in text":               {trial.Answer{Status: 404, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "404 page not found"}, lacks},
	"400":                       {coded(400, "NAME_INVALID"), lacks},
	"401":                       {trial.Answer{Status: 401}, lacks},
	"401, with reason":          {refuse, lacks},
	"403":                       {trial.Answer{Status: 403, Header: html, Body: "<html>"}, lacks},
	"406":                       {trial.Answer{Status: 406}, lacks},
	"412":                       {trial.Answer{Status: 412}, lacks},
	"501":                       {trial.Answer{Status: 501}, lacks},
	"500, unsupported":          {coded(500, "UNSUPPORTED"), lacks},
	"204":                       {trial.Answer{Status: 204}, lacks},
	"300":                       {trial.Answer{Status: 300, Header: html, Body: "<html>"}, lacks},
	"303 to a page":             {trial.Answer{Status: 303, Header: http.Header{"Location": {"/login"}}}, lacks},
	"302 to nobody":             {trial.Answer{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/login"}}}, lacks},
	"307 to no address":         {trial.Answer{Status: 307, Header: http.Header{"Location": {"ftp://x"}}}, lacks},
	"in a circle":               {trial.Answer{Status: 307, Header: http.Header{"Location": {api("nginx")}}}, lacks},
	"a page":                    {trial.Answer{Header: html, Body: "<html>sign in"}, lacks},
	"a page without a label":    {trial.Answer{Body: "<html>sign in"}, lacks},
	"nothing":                   {trial.Answer{}, lacks},
	"JSON of something else":    {trial.Answer{Body: `{"message":"welcome"}`}, lacks},
	"a list of something else":  {trial.Answer{Body: `[]`}, lacks},
	"manifests that are none":   {trial.Answer{Body: `{"manifests":7}`}, lacks},
	"500":                       {trial.Answer{Status: 500}, perhapsLacks},
	"429":                       {trial.Answer{Status: 429}, fails},
	"502":                       {trial.Answer{Status: 502, Header: html, Body: "<html>"}, fails},
	"503, unsupported":          {coded(503, "UNSUPPORTED"), fails},
	"521":                       {trial.Answer{Status: 521, Header: html}, fails},
	"408":                       {trial.Answer{Status: 408}, fails},
	"404 elsewhere":             {elsewhere(404), lacks},
	"429 elsewhere":             {elsewhere(429), fails},
	"502 elsewhere":             {elsewhere(502), fails},
	"503 elsewhere":             {elsewhere(503), fails},
	"504 elsewhere":             {elsewhere(504), fails},
	"521 elsewhere":             {elsewhere(521), fails},
	"what breaks off":           {trial.Answer{Header: http.Header{"Content-Length": {"1000"}}, Body: `{"manifests":[`}, breaksOff},
	"a page, and no second one": {linked(index("other"), "?page=2"), breaksOff},
}

// A registry without the API says so in its own way; then what lies under the tag counts,
// and that there is none. Where the API fails, there or on another host to which the registry
// leads, what lies under the tag is told, and that nothing does is not. What breaks off says nothing.
func TestARegistryWithoutTheAPI(t *testing.T) {
	other := trial.NewRegistry(t)
	for name, c := range withoutAPI {
		if at, leads := strings.CutPrefix(c.says.Header.Get("Location"), "/elsewhere/"); leads {
			status, _ := strconv.Atoi(at) //nolint:errcheck // it was made by elsewhere
			other.Say("/"+at, trial.Answer{Status: status})
			c.says.Header = http.Header{"Location": {other.URL + "/" + at}}
		}
		none := coded(404, "MANIFEST_UNKNOWN")
		for tag, answer := range map[string]trial.Answer{"sig": index("sig"), "": none, "broken": {Status: 503}} {
			w := newWorld(t)
			for _, own := range []*trial.Registry{w.harbor, w.mad1, w.drp1} {
				own.Say(api(nginx), index())
			}
			w.hub.Say("/login", trial.Answer{Header: html, Body: "<html>sign in"})
			w.hub.Say(api("nginx"), c.says)
			w.hub.Say(api("nginx")+"?page=2", trial.Answer{Status: 404})
			w.hub.Say(tagged("nginx"), answer)
			want := http.StatusOK
			if c.is == breaksOff || tag == "broken" || c.is == fails && tag == "" {
				want = http.StatusServiceUnavailable
			}
			got, err := w.Lists.Referrers(t.Context(), referring(nginx))
			if all := strings.Join(names(got.All), " "); status(err) != want || err == nil && all != tag {
				t.Errorf("%s, the tag has %q: %q, %v", name, tag, all, err)
			}
			// What is remembered stays, where who says no may be broken.
			w.PutReferrers(nginx, signed, []json.RawMessage{descriptorOf("known")})
			got, err = w.Lists.Referrers(t.Context(), referring(nginx))
			all := strings.Join(names(got.All), " ")
			if firm := c.is == lacks && tag != "broken"; err != nil && want == http.StatusOK || firm && all != tag || !firm && !strings.HasSuffix(all, "known") && tag != "sig" {
				t.Errorf("%s, the tag has %q, one is known: %q, %v", name, tag, all, err)
			}
		}
	}
}

// A login page that is a 401 to everything does not say that nothing is signed.
func TestReferrersOfALoginPage(t *testing.T) {
	w := newWorld(t)
	for _, own := range []*trial.Registry{w.harbor, w.mad1, w.drp1} {
		own.Say(api(nginx), index())
	}
	page := trial.Answer{Status: 401, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>sign in"}
	w.hub.Say(api("nginx"), page)
	w.hub.Say(tagged("nginx"), page)
	if got, err := w.Lists.Referrers(t.Context(), referring(nginx)); status(err) != http.StatusServiceUnavailable {
		t.Errorf("%q, %v", names(got.All), err)
	}
}

// An answer of the fleet's own that has the API is a fault, not a registry without one.
func TestABrokenHarborDoesNotLackTheAPI(t *testing.T) {
	for _, status := range []int{401, 403, 412, 500, 503} {
		w := newWorld(t)
		w.harbor.Say(api(demo), trial.Answer{Status: status})
		w.harbor.Say(tagged(demo), index("old"))
		if got, err := w.Lists.Referrers(t.Context(), referring(demo)); err == nil {
			t.Errorf("%d: %q", status, names(got.All))
		}
	}
}

// What lies under the tag of a registry whose API fails is a part of what there is: what its
// API said before is not forgotten, and a pause that it asked for changes nothing.
func TestAnAPIThatFailsTakesNothingAway(t *testing.T) {
	for _, says := range []int{429, 503} {
		w := newWorld(t)
		w.harbor.Say(api(nginx), index())
		w.hub.Say(api("nginx"), index("sig", "sbom"))
		if _, err := w.Lists.Referrers(t.Context(), referring(nginx)); err != nil {
			t.Fatal(err)
		}
		w.hub.Say(api("nginx"), trial.Answer{Status: says})
		w.hub.Say(tagged("nginx"), index("sig"))
		for range 2 {
			got, err := w.Lists.Referrers(t.Context(), referring(nginx))
			if all := strings.Join(names(got.All), " "); err != nil || all != "sig sbom" || !got.Merged {
				t.Errorf("%d: %q, merged %t, %v", says, all, got.Merged, err)
			}
		}
		if n := w.hub.AskedFor("GET " + tagged("nginx")); n != 3 {
			t.Errorf("%d: the tag was asked for %d times", says, n)
		}
	}
}
