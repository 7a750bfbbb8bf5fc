package main

import (
	"io"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

// readFleet reads the fleet file that a command names: - is standard input.
func readFleet(stdin io.Reader, name string) (*fleet.Fleet, error) {
	if name != "-" {
		return fleet.ReadFile(name)
	}
	return fleet.Read(fileName(name), stdin)
}

// keptFile refuses standard input to a daemon, which reads its fleet file again when it changes.
func keptFile(cmd *cobra.Command, name string) error {
	if name == "-" {
		return misused(cmd, "--config -: %s reads its fleet file again when it changes; name the file", cmd.CommandPath())
	}
	return nil
}

// fileName is what the file of an argument is called in faults.
func fileName(arg string) string {
	if arg == "-" {
		return "stdin"
	}
	return arg
}
