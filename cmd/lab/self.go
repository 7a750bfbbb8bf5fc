package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

const (
	fromTree     = "go run ./cmd/lab" // how the lab is called where it is built from the tree
	releasedName = "breakwater-lab"   // what it is called in a release, whose archive has breakwater beside it
)

// released is the path of a lab that came in a release, "" for one that go runs.
func released() string {
	path, err := os.Executable()
	if err != nil || filepath.Base(path) != releasedName {
		return ""
	}
	return path
}

// self is how this lab is called in another terminal.
func self() string {
	path := released()
	if path == "" {
		return fromTree
	}
	if found, err := exec.LookPath(releasedName); err == nil && filepath.IsAbs(found) {
		return releasedName
	}
	return path
}

// callItself has a lab that came in a release say so where its texts tell how it is called.
func callItself(cmd *cobra.Command) {
	name := self()
	if name == fromTree {
		return
	}
	cmd.Use = strings.Replace(cmd.Use, "lab", releasedName, 1)
	for _, c := range append(cmd.Commands(), cmd) {
		c.Example = strings.ReplaceAll(c.Example, fromTree, name)
	}
}
