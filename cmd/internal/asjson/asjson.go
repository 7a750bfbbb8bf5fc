// Package asjson writes the answers of commands for machines (docs/json.md).
package asjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Format is the format of what --json prints. Fields are added within one; a field that goes,
// or means something else, is another format.
const Format = 1

// Text is an answer as JSON: a value, or the JSON that a daemon has given ([]byte). The error
// says that it is none.
func Text(answer any) ([]byte, error) {
	text, raw := answer.([]byte)
	if !raw {
		var b bytes.Buffer
		out := json.NewEncoder(&b)
		out.SetEscapeHTML(false)
		if err := out.Encode(answer); err != nil {
			return nil, err
		}
		text = b.Bytes()
	}
	text = bytes.TrimSpace(text)
	if !json.Valid(text) {
		return nil, errors.New("what was answered is no JSON; is it of this version?")
	}
	return text, nil
}

// WithFormat is a JSON text with the format as its first field. A list has no place for it, and
// stays as it is.
func WithFormat(text []byte) []byte {
	fields, object := bytes.CutPrefix(text, []byte("{"))
	switch {
	case !object:
		return text
	case len(bytes.TrimSpace(fields)) > 1:
		return fmt.Appendf(nil, `{"format":%d,%s`, Format, fields)
	}
	return fmt.Appendf(nil, `{"format":%d}`, Format)
}

// Print prints an answer in one line, with the format.
func Print(w io.Writer, answer any) error {
	text, err := Text(answer)
	if err == nil {
		_, err = w.Write(append(WithFormat(text), '\n'))
	}
	return err
}
