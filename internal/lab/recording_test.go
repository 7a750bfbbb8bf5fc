package lab

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// recording is one request to a real Harbor, and its answer.
type recording struct {
	method  string
	url     *url.URL
	header  http.Header
	body    string
	jar     string // of cookies, which curl read
	jarOut  string // and wrote
	status  int
	answer  http.Header
	content string
}

// excluded lists the recordings that are not replayed, each with its reason.
// A name may end in * for a family.
var excluded = map[string]string{
	"gzip-*":                     "later: Harbor's nginx compresses API answers; the stand-in has no nginx",
	"readonly-get.txt":           "no recording has the manifest's bytes",
	"quota-crane-*":              "a client's words",
	"quota-exceeded-p*":          "needs an upload session in the state in which it was recorded: TestQuota",
	"quota-list.txt":             "it lists the projects of that machine; the quota- family lists some, too",
	"repl-*":                     "the replication- family has the same, and more",
	"latency-*":                  "figures, no answer",
	"zz-*":                       "figures, no answer",
	"login-failure-*":            "later: the lock-out of 1.5 s after a wrong password is not imitated",
	"registry-direct-*":          "the registry behind core, which nobody reaches but core",
	"quirk-*":                    "later: a form-urlencoded upload, which no registry client sends",
	"upload-p[au]t*":             "later: needs an upload session in the state in which it was recorded",
	"upload-unknown-session.txt": "later: needs an upload session in the state in which it was recorded",
	"manifest-put-invalid.txt":   "later: distribution v3 adds a detail that the 2.8 in Harbor leaves out",
	"tags-list-after-*":          "the same as basic-tags-list.txt",
	"pc-upstream-hang-*":         "there is no answer to compare: TestHangingUpstream",
	"minted-token-*":             "a table of its own: TestMintedTokens",
}

func exclusion(name string) (pattern, reason string) {
	for pattern, reason := range excluded {
		if ok, _ := filepath.Match(pattern, name); ok {
			return pattern, reason
		}
	}
	return "", ""
}

const recordings = "testdata/recordings"

func TestRecordings(t *testing.T) {
	files, err := os.ReadDir(recordings)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, f := range files {
		name := f.Name()
		if pattern, reason := exclusion(name); pattern != "" {
			used[pattern] = true
			if reason == "" {
				t.Errorf("%s is excluded without a reason", name)
			}
			continue
		}
		t.Run(strings.TrimSuffix(name, ".txt"), func(t *testing.T) {
			t.Parallel()
			replay(t, name)
		})
	}
	for pattern := range excluded {
		if !used[pattern] {
			t.Errorf("%s excludes nothing", pattern)
		}
	}
}

func replay(t *testing.T, name string) {
	text, err := os.ReadFile(filepath.Join(recordings, name))
	if err != nil {
		t.Fatal(err)
	}
	all := parseRecordings(t, name, string(text))
	if len(all) == 0 {
		t.Fatal("nothing to replay in it: name it in excluded, or in spelled")
	}
	f := newFixture(t, name)
	for _, rec := range all {
		f.compare(t, name, rec)
	}
}

// spelled are the requests of recordings whose first line is prose.
var spelled = map[string]string{
	"blob-get-headers.txt":          `$ curl -i -u admin:Harbor12345 http://127.0.0.1:18081/v2/priv/app/blobs/` + layerDigest,
	"blob-if-none-match.txt":        `$ curl -i -u admin:Harbor12345 -H If-None-Match:\ \"` + layerDigest + `\" http://127.0.0.1:18081/v2/priv/app/blobs/` + layerDigest,
	"blob-range.txt":                `$ curl -i -u admin:Harbor12345 -H Range:\ bytes=10-19 http://127.0.0.1:18081/v2/priv/app/blobs/` + layerDigest,
	"pc-get-layer-cold-headers.txt": `$ curl -i -u admin:Harbor12345 http://127.0.0.1:18081/v2/cache/team/img/blobs/` + cachedLayer,
	"pc-get-layer-warm-headers.txt": `$ curl -i -u admin:Harbor12345 http://127.0.0.1:18081/v2/cache/team/img/blobs/` + cachedLayer,
}

func parseRecordings(t *testing.T, name, text string) (all []recording) {
	if command, ok := spelled[name]; ok {
		_, rest, _ := strings.Cut(text, "\n")
		text = command + "\n" + rest
	}
	var block []string
	flush := func() {
		if len(block) > 0 {
			all = append(all, parseRecording(t, block))
		}
		block = nil
	}
	for _, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if strings.HasPrefix(line, "$ curl ") {
			flush()
			block = []string{line}
		} else if block != nil {
			block = append(block, line)
		}
	}
	flush()
	return all
}

func parseRecording(t *testing.T, block []string) recording {
	rec := recording{method: http.MethodGet, header: http.Header{}, answer: http.Header{}}
	rec.parseCommand(t, block[0])
	lines := block[1:]
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "HTTP/") {
		if len(lines) == 0 || len(lines[0]) != 3 {
			t.Fatalf("no answer behind %q", block[0])
		}
		lines[0] = "HTTP/1.1 " + lines[0] // curl was told to print the status alone
		lines = append(lines[:1], "")
	}
	if _, err := parseStatus(lines[0], &rec.status); err != nil {
		t.Fatal(err)
	}
	i := 1
	for ; i < len(lines) && lines[i] != ""; i++ {
		k, v, _ := strings.Cut(lines[i], ":")
		rec.answer.Add(k, strings.TrimSpace(v))
	}
	if i+1 < len(lines) {
		rec.content = strings.TrimSpace(strings.Join(lines[i+1:], "\n"))
	}
	return rec
}

func parseStatus(line string, status *int) (string, error) {
	_, rest, _ := strings.Cut(line, " ")
	return rest, json.Unmarshal([]byte(rest[:3]), status)
}

// parseCommand reads a curl command as bash's printf %q wrote it.
func (rec *recording) parseCommand(t *testing.T, line string) {
	words := shellWords(strings.TrimPrefix(line, "$ curl "))
	for i := 0; i < len(words); i++ {
		next := func() string { i++; return words[i] }
		switch w := words[i]; w {
		case "-i", "-s":
		case "-I":
			rec.method = http.MethodHead
		case "-X":
			rec.method = next()
		case "-o", "-w", "-D":
			next()
		case "-c":
			rec.jarOut = next()
		case "-b":
			if cookie := next(); strings.Contains(cookie, "=") {
				rec.header.Add("Cookie", cookie)
			} else {
				rec.jar = cookie
			}
		case "-u":
			rec.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(next())))
		case "-H":
			k, v, _ := strings.Cut(next(), ":")
			rec.header.Set(k, strings.TrimSpace(v))
		case "-d", "--data-binary":
			rec.body = next()
			if rec.method == http.MethodGet {
				rec.method = http.MethodPost
			}
		default:
			var err error
			if rec.url, err = url.Parse(w); err != nil || rec.url.Host == "" {
				t.Fatalf("word %q of %q", w, line)
			}
		}
	}
}

// shellWords splits a line as bash does: backslashes, single and double quotes.
func shellWords(s string) (words []string) {
	var word strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == quote:
			quote = 0
		case quote == 0 && (s[i] == '\'' || s[i] == '"'):
			quote = s[i]
		case s[i] == '\\' && quote != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
		case s[i] == ' ' && quote == 0:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteByte(s[i])
		}
	}
	return append(words, word.String())
}

// remint replaces a recorded token by one with its claims, its times moved to
// now, signed by the fixture's key.
func (f *fixture) remint(t *testing.T, rec *recording) {
	raw, ok := strings.CutPrefix(rec.header.Get("Authorization"), "Bearer ")
	if !ok || strings.Count(raw, ".") != 2 {
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	age := time.Duration(0)
	if at, err := http.ParseTime(rec.answer.Get("Date")); err == nil {
		age = at.Sub(time.Unix(int64(c["iat"].(float64)), 0))
	}
	iat := float64(time.Now().Add(-age).Unix())
	for _, k := range []string{"exp", "nbf"} {
		c[k] = c[k].(float64) - c["iat"].(float64) + iat
	}
	c["iat"] = iat
	rec.header.Set("Authorization", "Bearer "+sign(t, f.key, c))
}

// compared are the headers in which the stand-in must answer as Harbor did.
var compared = []string{"Content-Type", "Www-Authenticate", "Docker-Distribution-Api-Version", "Docker-Content-Digest", "Etag", "Location",
	"Content-Range", "Accept-Ranges", "Cache-Control", "Range", "Oci-Filters-Applied", "Oci-Subject", "X-Total-Count", "Link", "Allow", "Content-Length"}

// changing are recordings whose bodies hold times, tokens or ids.
var changing = regexp.MustCompile(`^(token-|fail-.*-token|systeminfo-admin|robot-create|login-users|pc-upstreamdown-registries|api-project-get)`)

func (f *fixture) compare(t *testing.T, name string, rec recording) {
	t.Helper()
	f.remint(t, &rec)
	host := f.host(t, rec.url.Host)
	got, content := f.do(t, rec, host)
	if got.StatusCode != rec.status {
		t.Errorf("status %d, Harbor's %d: %s", got.StatusCode, rec.status, content)
	}
	if len(rec.answer) == 0 {
		return
	}
	same := !changing.MatchString(name)
	plain := func(s string) string {
		s = strings.ReplaceAll(strings.ReplaceAll(s, host, "HOST"), rec.url.Host, "HOST")
		s = regexp.MustCompile(`uploads/.*`).ReplaceAllString(s, "uploads/SESSION")
		return regexp.MustCompile(`(/api/v2.0/[a-z]+)/\d+$`).ReplaceAllString(s, "$1/ID")
	}
	for _, k := range compared {
		if k == "Content-Length" && !same {
			continue
		}
		want, have := strings.Join(rec.answer[k], ", "), strings.Join(got.Header[k], ", ")
		if _, sent := got.Header[k]; sent != (rec.answer[k] != nil) || plain(want) != plain(have) {
			t.Errorf("%s: %q, Harbor's %q", k, have, want)
		}
	}
	if _, sent := got.Header["Docker-Upload-Uuid"]; sent != (rec.answer["Docker-Upload-Uuid"] != nil) {
		t.Error("Docker-Upload-Uuid is there in one of the two only")
	}
	compareContent(t, name, rec, got.Request.Method, plain, content)
}

func compareContent(t *testing.T, name string, rec recording, method string, plain func(string) string, content string) {
	t.Helper()
	switch isJSON := strings.HasPrefix(rec.content, "{") || strings.HasPrefix(rec.content, "["); {
	case method == http.MethodHead, !isJSON && !strings.HasPrefix(rec.content, "<"):
	case strings.HasPrefix(rec.content, `{"token"`):
		compareToken(t, rec.content, content)
	case changing.MatchString(name):
		if want, have := keys(rec.content), keys(content); want != have {
			t.Errorf("keys %s, Harbor's %s", have, want)
		}
	default:
		if want, have := plain(rec.content), plain(strings.TrimSpace(strings.ReplaceAll(content, "\r\n", "\n"))); want != have {
			t.Errorf("content\n%s\nHarbor's\n%s", have, want)
		}
	}
}
