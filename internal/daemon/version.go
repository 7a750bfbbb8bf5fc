package daemon

import "runtime/debug"

// next is the release that the tree is on its way to.
const next = "0.1.0-dev"

// Version is the version of the running binary: that of its module where it was
// built from a release, else the coming one's.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return next
}
