package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"example.org/breakwater/cmd/internal/asjson"
)

// jsonFlag is --json of a command: off, on, or on with an envelope, which lists have room for
// the format in.
type jsonFlag struct {
	cmd             *cobra.Command
	wanted, envelop bool
}

// register gives the command the flag; what says what is printed.
func (j *jsonFlag) register(cmd *cobra.Command, what string) {
	j.cmd = cmd
	cmd.Flags().Var(j, "json", what)
	cmd.Flags().Lookup("json").NoOptDefVal = "true"
}

// on reports whether JSON is wanted; of nil it is not.
func (j *jsonFlag) on() bool { return j != nil && j.wanted }

func (j *jsonFlag) String() string {
	switch {
	case j.envelop:
		return "envelope"
	case j.wanted:
		return "true"
	}
	return "false"
}

// Set takes true, false and envelope.
func (j *jsonFlag) Set(text string) error {
	switch text {
	case "true", "false", "envelope":
		j.wanted, j.envelop = text != "false", text == "envelope"
		return nil
	}
	return fmt.Errorf("%q is no form of it", text)
}

// Type has help and completion take the flag for one without a value.
func (j *jsonFlag) Type() string { return "bool" }

// print prints an answer in one line: a value, or the JSON that a daemon has given.
func (j *jsonFlag) print(w io.Writer, answer any) error {
	text, err := j.marshal(answer)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

// printIndented prints an answer for people too.
func (j *jsonFlag) printIndented(w io.Writer, answer any) error {
	text, err := j.marshal(answer)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	if err := json.Indent(&lines, text, "", "  "); err != nil {
		return err
	}
	_, err = w.Write(append(lines.Bytes(), '\n'))
	return err
}

// marshal is an answer with its format: in an object the first field, in a list none but by an
// envelope, as who reads lists reads them as they are.
func (j *jsonFlag) marshal(answer any) ([]byte, error) {
	text, err := asjson.Text(answer)
	switch {
	case err != nil:
		return nil, err
	case j.envelop:
		name := strings.TrimPrefix(j.cmd.CommandPath(), j.cmd.Root().Name()+" ")
		return fmt.Appendf(nil, `{"format":%d,"command":%q,"answer":%s}`, asjson.Format, name, text), nil
	}
	return asjson.WithFormat(text), nil
}
