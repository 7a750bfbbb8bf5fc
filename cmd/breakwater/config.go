package main

import (
	"io"
	"maps"
	"slices"
	"strings"

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

// ownDatacenter is the datacenter that a daemon was told with --datacenter, else the only
// one of its fleet file.
func ownDatacenter(cmd *cobra.Command, config, told string) (string, error) {
	if told != "" {
		return told, nil
	}
	f, err := fleet.ReadFile(config)
	if err != nil {
		return "", err
	}
	names := slices.Sorted(maps.Keys(f.Datacenters))
	if len(names) != 1 {
		return "", misused(cmd, "--datacenter is missing, and %s has %d of them: write one of %s", config, len(names), strings.Join(names, ", "))
	}
	return names[0], nil
}
