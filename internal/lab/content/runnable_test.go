package content

import (
	"debug/elf"
	"errors"
	"os"
	"testing"
)

// A library of another machine beside the right one is not the right one, and
// one that is nowhere leaves the image out, not the lab.
func TestALibraryIsOfTheRightMachine(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Skip("no ELF here")
	}
	defer f.Close()
	if _, _, err := readLibrary("libc.so.6", elf.EM_68K); err == nil {
		t.Error("the C library of another machine was taken")
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range libraries {
		if _, _, err := readLibrary(name, f.Machine); err != nil {
			t.Error(err)
		}
	}
	if _, err := Runnable("lab"); err != nil && !errors.Is(err, ErrNoContainers) {
		t.Errorf("%v would end the lab", err)
	}
}
