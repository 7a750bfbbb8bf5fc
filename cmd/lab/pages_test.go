package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheEntriesThatAreNotProducedAgain: docs/troubleshooting.md says of which entries the
// messages were recorded once. Those are the ones with blocks that TestRunbooks does not compare.
func TestTheEntriesThatAreNotProducedAgain(t *testing.T) {
	const page = "../../docs/troubleshooting.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, entry := range regexp.MustCompile(`(?m)^### (\d+)\. `).FindAllStringSubmatchIndex(string(text), -1) {
		body, _, _ := strings.Cut(string(text[entry[1]:]), "\n### ")
		if strings.Contains(body, "\n```text\n") {
			recorded = append(recorded, string(text[entry[2]:entry[3]]))
		}
	}
	said := regexp.MustCompile(`Blocks of the entries ([\d, and]+),`).FindStringSubmatch(string(text))
	if said == nil {
		t.Fatalf("%s does not say which blocks were recorded once", page)
	}
	if want := regexp.MustCompile(`\d+`).FindAllString(said[1], -1); !slices.Equal(recorded, want) {
		t.Errorf("blocks of %q are not compared; %s says %q", recorded, page, want)
	}
}
