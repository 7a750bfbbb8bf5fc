package daemon

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Watch calls changed whenever one of the files is another than before, until ctx
// ends. It looks every ten seconds: Kubernetes and Vault's agent replace files
// by renames and symbolic links, which notifications of the kernel miss. Files
// that are gone for the moment count as unchanged.
func Watch(ctx context.Context, changed func(), files ...string) {
	seen := stat(files, nil)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := stat(files, seen)
		if !slices.EqualFunc(seen, now, sameFile) {
			seen = now
			changed()
		}
	}
}

// stat returns what the files are; what they were where they are not to be had.
func stat(files []string, before []fs.FileInfo) []fs.FileInfo {
	infos := make([]fs.FileInfo, len(files))
	for i, name := range files {
		info, err := os.Stat(name)
		if err != nil && before != nil {
			info = before[i]
		}
		infos[i] = info
	}
	return infos
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
