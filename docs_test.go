package breakwater_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pages returns the paths of all Markdown files of the tree, relative to its root.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".md"):
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	linkTarget = regexp.MustCompile(`\]\(<?([^)>]+)>?\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// markdown returns a page's text without its code: neither fenced blocks nor code spans have
// links or headings.
func markdown(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	inside := false
	for line := range strings.SplitSeq(string(text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inside = !inside
			continue
		}
		if !inside {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// anchors returns the fragments that lead to a page's headings, as GitHub makes them: lower case,
// no punctuation, hyphens for spaces, and a number behind a heading that comes again.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(markdown(t, page), -1) {
		slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(linkTarget.ReplaceAllString(m[1], "")), ""), " ", "-")
		anchor := slug
		for n := 1; all[anchor]; n++ {
			anchor = slug + "-" + strconv.Itoa(n)
		}
		all[anchor] = true
	}
	return all
}

// relativeLinks returns what a page links to within the tree: the path from the root, and the fragment.
func relativeLinks(t *testing.T, page string) (all [][2]string) {
	t.Helper()
	for _, m := range linkTarget.FindAllStringSubmatch(markdown(t, page), -1) {
		u, err := url.Parse(m[1])
		if err != nil {
			t.Errorf("%s: link %q: %v", page, m[1], err)
			continue
		}
		if u.Scheme != "" {
			continue
		}
		to := page
		if u.Path != "" {
			to = filepath.Join(filepath.Dir(page), u.Path)
		}
		all = append(all, [2]string{to, u.Fragment})
	}
	return all
}

// Every relative link leads to a file that exists, and every fragment to a heading of it.
func TestLinksResolve(t *testing.T) {
	for _, page := range pages(t) {
		for _, link := range relativeLinks(t, page) {
			if _, err := os.Stat(link[0]); err != nil {
				t.Errorf("%s links to %s: %v", page, link[0], err)
			} else if link[1] != "" && !anchors(t, link[0])[link[1]] {
				t.Errorf("%s links to %s, which has no heading #%s", page, link[0], link[1])
			}
		}
	}
}

// A reader who starts at README.md reaches every page by two links at most. A link to a folder
// shows its README.md.
func TestEveryPageIsTwoClicksAway(t *testing.T) {
	reached := []string{"README.md"}
	for range 2 {
		for _, page := range slices.Clone(reached) {
			for _, link := range relativeLinks(t, page) {
				to := link[0]
				if info, err := os.Stat(to); err == nil && info.IsDir() {
					to = filepath.Join(to, "README.md")
				}
				if _, err := os.Stat(to); err == nil && strings.HasSuffix(to, ".md") && !slices.Contains(reached, to) {
					reached = append(reached, to)
				}
			}
		}
	}
	all := pages(t)
	if len(all) < 30 {
		t.Fatalf("only %d pages were found: %v", len(all), all)
	}
	for _, page := range all {
		if !slices.Contains(reached, page) {
			t.Errorf("%s is more than two clicks away from README.md: add it to docs/README.md", page)
		}
	}
}

// Files that CONTRIBUTING.md names by their path exist.
func TestFilesThatContributingNamesExist(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z_]+(?:/[a-z_.-]+)*\\.(?:go|yaml))`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 30 {
		t.Errorf("only %d files are named", len(named))
	}
	for _, m := range named {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("CONTRIBUTING.md names %s: %v", m[1], err)
		}
	}
}
