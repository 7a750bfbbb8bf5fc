// Package naming is what the fleet file, the edge and the provisioner must agree
// on: how Harbor projects are called, what image patterns match, and how a
// replication flattens names.
package naming

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// The prefixes of managed projects' names, which stand for their kinds. A project may have a
// name of its own instead (fleet.Fleet.Project), which begins with none of them.
const (
	MultiDC = "multi-dc-"
	Cache   = "cache-"
	Repl    = "repl-"
)

// KindOf is the kind of project that a name says by its prefix; "": it says none.
func KindOf(project string) string {
	for _, kind := range []string{MultiDC, Cache, Repl} {
		if len(project) > len(kind) && strings.HasPrefix(project, kind) {
			return kind
		}
	}
	return ""
}

const maxProject = 255

var project = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// ValidProject reports whether Harbor takes s as a project's name
// (POST /api/v2.0/projects): lower-case letters and digits, single separators
// among them, at most 255 bytes.
func ValidProject(s string) bool { return len(s) <= maxProject && project.MatchString(s) }

var platform = regexp.MustCompile(`^[a-z0-9_.-]{1,32}/[a-z0-9_.-]{1,32}(/[a-z0-9_.-]{1,32})?$`)

// ValidPlatform reports whether s can be a platform of an image index, as linux/amd64 or
// linux/arm64/v8 (OCI image index specification, platform).
func ValidPlatform(s string) bool { return platform.MatchString(s) }

// CheckPattern returns an error for a pattern that Harbor's matcher (doublestar
// with braces) cannot read.
func CheckPattern(pattern string) error {
	if pattern == "" || !utf8.ValidString(pattern) || !doublestar.ValidatePattern(pattern) {
		return fmt.Errorf("%q is no pattern: want a glob as v1.{2,3}.*, not a regular expression", pattern)
	}
	return nil
}

// Match reports whether a name or tag matches one of Harbor's globs. A pattern
// that CheckPattern refuses matches nothing.
func Match(pattern, s string) bool {
	if CheckPattern(pattern) != nil { // the matcher itself takes some of these
		return false
	}
	ok, err := doublestar.Match(pattern, s)
	return err == nil && ok && utf8.ValidString(s) // all that is no UTF-8 looks the same to it
}

// Flatten is Harbor's dest_namespace_replace_count: how many leading path
// elements of an image's name a replication drops; FlattenAll keeps the last alone.
type Flatten int

// FlattenAll keeps only the last path element: library/traefik becomes traefik.
const FlattenAll Flatten = -1

// Apply returns the name under the destination project. Dropping more elements
// than there are keeps the last.
func (f Flatten) Apply(name string) string {
	parts := strings.Split(name, "/")
	drop := int(f)
	if f < 0 || drop >= len(parts) {
		drop = len(parts) - 1
	}
	return strings.Join(parts[drop:], "/")
}
