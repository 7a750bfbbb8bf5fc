package daemon

import (
	"context"
	"io/fs"
	"os"
	"time"
)

// files are watched by what they are on disk: Kubernetes and Vault's agent replace files
// by renames and symbolic links, which notifications of the kernel miss. Those that are
// gone for the moment count as unchanged.
type files map[string]fs.FileInfo

// watch has these files watched from now on. What was seen before of those that stay counts.
func (f *files) watch(names ...string) {
	seen := files{}
	for _, name := range names {
		info, known := (*f)[name]
		if !known {
			info, _ = os.Stat(name) // nil: it is not there yet
		}
		seen[name] = info
	}
	*f = seen
}

// changed reports whether a file is another than when this was asked last.
func (f files) changed() (changed bool) {
	for name, before := range f {
		info, err := os.Stat(name)
		if err == nil && (before == nil || !sameFile(before, info)) {
			f[name], changed = info, true
		}
	}
	return changed
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Watch calls changed whenever one of the files is another than before, until ctx
// ends. It looks every ten seconds.
func Watch(ctx context.Context, changed func(), names ...string) {
	var seen files
	seen.watch(names...)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if seen.changed() {
			changed()
		}
	}
}
