package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/fleet"
)

// editorHeader is the line by which editors find a YAML file's schema.
const editorHeader = "# yaml-language-server: $schema="

func schemaCommand() *cobra.Command {
	header := false
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the fleet file",
		Long: `Print the JSON Schema (draft 2020-12) of the fleet file: fields, types, choices,
defaults and what each field is for, as this program reads them. Editors that speak
with yaml-language-server complete and check a file whose first line names it:

  ` + editorHeader + `fleet.schema.json

A file that the schema takes may still have faults: "breakwater check" knows them all.`,
		Example: `  breakwater schema > fleet.schema.json
  breakwater schema --header`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if header {
				fmt.Fprintln(cmd.OutOrStdout(), editorHeader+"fleet.schema.json")
				return nil
			}
			text, err := fleet.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&header, "header", false, "print the line alone that a fleet file begins with, for editors")
	return cmd
}
