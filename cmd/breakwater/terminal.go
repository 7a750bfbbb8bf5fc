package main

import (
	"os"

	"golang.org/x/term"
)

// isTerminal reports whether somebody sits at a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
