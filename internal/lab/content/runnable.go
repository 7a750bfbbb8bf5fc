package content

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErrNoContainers says that the running binary would not run in a container.
var ErrNoContainers = errors.New("this program does not run in a container")

// Platform is the one that this process runs on.
func Platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// Runnable is an image whose payload is the running program itself, at /name.
// A binary that is linked to libraries brings them along, so that it runs in an
// otherwise empty image.
func Runnable(name string, arguments ...string) (v1.Image, error) {
	if runtime.GOOS != "linux" {
		return nil, ErrNoContainers
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	libraries, err := closure(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoContainers, err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var layers []v1.Layer
	if len(libraries) > 0 {
		l, err := layerOf(libraries...)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	l, err := layerOf(file{path: name, mode: 0o755, content: binary})
	if err != nil {
		return nil, err
	}
	return imageOf(Platform(), append([]string{"/" + name}, arguments...), append(layers, l)...)
}

// closure lists what a dynamic binary needs to run: its interpreter and the
// libraries that it and they name; nothing for a static one.
func closure(path string) ([]file, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	interpreter := ""
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return nil, err
			}
			interpreter = strings.TrimRight(string(b), "\x00")
		}
	}
	if interpreter == "" {
		return nil, nil
	}
	content, err := os.ReadFile(interpreter)
	if err != nil {
		return nil, err
	}
	files := []file{{path: strings.TrimPrefix(interpreter, "/"), mode: 0o755, content: content}}
	seen := map[string]bool{filepath.Base(interpreter): true}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for len(needed) > 0 {
		library := needed[0]
		needed = needed[1:]
		if seen[library] {
			continue
		}
		seen[library] = true
		found, more, err := readLibrary(library, f.Machine)
		if err != nil {
			return nil, err
		}
		files = append(files, found)
		needed = append(needed, more...)
	}
	return files, nil
}

// readLibrary finds a library for the machine where loaders look first: another
// machine's may lie beside it under the same name.
func readLibrary(name string, machine elf.Machine) (f file, needed []string, err error) {
	for _, pattern := range []string{"/lib64/", "/usr/lib64/", "/lib/*-linux-*/", "/usr/lib/*-linux-*/", "/lib/", "/usr/lib/"} {
		matches, _ := filepath.Glob(pattern + name)
		for _, path := range matches {
			library, err := elf.Open(path)
			if err != nil {
				continue
			}
			needed, err = library.ImportedLibraries()
			library.Close()
			if library.Machine != machine {
				continue
			}
			if err != nil {
				return f, nil, err
			}
			content, err := os.ReadFile(path)
			return file{path: strings.TrimPrefix(path, "/"), mode: 0o755, content: content}, needed, err
		}
	}
	return f, nil, fmt.Errorf("the library %s is not where loaders look", name)
}

// Index is a multi-arch image: host for the platform that it is for, and small
// images that say what they are for the others.
func Index(host v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	platforms := []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}}
	for _, p := range platforms {
		img := host
		if host == nil || p.Architecture != runtime.GOARCH {
			l, err := layerOf(file{path: "platform", mode: 0o444, content: []byte(p.String() + "\n")})
			if err != nil {
				return nil, err
			}
			if img, err = imageOf(p, []string{"/platform"}, l); err != nil {
				return nil, err
			}
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index, nil
}
