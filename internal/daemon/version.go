package daemon

import (
	"runtime"
	"runtime/debug"
)

// next is the release that the tree is on its way to.
const next = "0.1.0-dev"

// Build is what the running binary was built from, as "go build" writes it into
// every binary (runtime/debug.BuildInfo).
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`   // "" where it was not built in a repository
	Date     string `json:"date,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // there were changes that are not in the commit
	Go       string `json:"go"`
	Platform string `json:"platform"` // as linux/amd64
}

// ReadBuild reads what the running binary was built from.
func ReadBuild() Build {
	b := Build{Version: next, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// Version is the version of the running binary: that of its module where it was
// built from a release, else the coming one's.
func Version() string { return ReadBuild().Version }
