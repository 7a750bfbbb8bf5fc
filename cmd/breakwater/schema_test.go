package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestSchemaIsJSON(t *testing.T) {
	for args, want := range map[string]string{"": `"$schema": "https://json-schema.org/draft/2020-12/schema"`, "--header": "# yaml-language-server: $schema=fleet.schema.json\n"} {
		cmd := schemaCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q: %v\n%.200s", args, err, out.String())
		}
		if args == "" && !json.Valid(out.Bytes()) {
			t.Error("it is no JSON")
		}
	}
}
