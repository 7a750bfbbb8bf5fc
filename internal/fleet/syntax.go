package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxOdd bounds what is said of characters: a file in another encoding has many.
const maxOdd = 20

const notYAML = "the file is not YAML: "

func (d *decoder) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, Fault{File: d.file, Line: max(line, 1), Message: fmt.Sprintf(format, args...)})
}

// text is the file as UTF-8 without a byte order mark; ok is false where it is no text.
func (d *decoder) text(data []byte) (text []byte, ok bool) {
	switch {
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		data = fromUTF16(data[2:], 0, 1)
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		data = fromUTF16(data[2:], 1, 0)
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	line, before := 1, len(d.faults)
	for i := 0; i < len(data) && len(d.faults)-before < maxOdd; {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == '\n' || r == '\r' && !bytes.HasPrefix(data[i+1:], []byte("\n")):
			line++
		case r == utf8.RuneError && size == 1:
			d.fault(line, "byte 0x%02X is no UTF-8 (in Latin-1 it is %q); save the file as UTF-8", data[i], rune(data[i]))
			size = rest(data[i:]) // one fault a line
		case strange(r):
			d.fault(line, "there is a character that YAML does not take, or takes for the end of a line (%U); remove it", r)
			size = rest(data[i:])
		}
		i += size
	}
	return data, len(d.faults) == before
}

// rest is what is left of a line.
func rest(data []byte) int {
	if n := bytes.IndexAny(data, "\r\n"); n > 0 {
		return n
	}
	return len(data)
}

// strange characters are refused by the parser, or end a line for it and for no editor.
func strange(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	case 0x7F, 0x85, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF:
		return true
	}
	return r < ' ' || r > 0x7F && r < 0xA0
}

func fromUTF16(data []byte, low, high int) []byte {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, uint16(data[low])|uint16(data[high])<<8)
	}
	return []byte(string(utf16.Decode(units)))
}

// parse makes a node tree of a text that is one YAML document.
func (d *decoder) parse(text []byte) *yaml.Node {
	var root, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err == nil {
		err = loader.Load(&root)
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		d.syntax(text, err)
		return nil
	}
	switch err = loader.Load(&second); {
	case errors.Is(err, io.EOF):
		return &root
	case err != nil:
		d.syntax(text, err)
	default:
		d.fault(second.Line, "a second document begins here (after ---); a fleet is one: keep one of the two")
	}
	return nil
}

// syntax says in plain words why there is no YAML in the text. What stands in the file is not
// repeated: it may be a password.
func (d *decoder) syntax(text []byte, err error) {
	var all *yaml.LoadErrors
	var e *yaml.LoadError
	if errors.As(err, &all) && len(all.Errors) > 0 {
		e = all.Errors[0]
	}
	if e == nil && !errors.As(err, &e) {
		d.fault(1, notYAML+"look for a missing quote, bracket, colon or space")
		return
	}
	t := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text)), "\n")
	if at := slices.IndexFunc(t, func(line string) bool { return strings.HasPrefix(line, "<<<<<<< ") }); at >= 0 {
		d.fault(at+1, notYAML+"a merge of git's begins here and was not ended; keep one of the two sides, without the marks")
		return
	}
	f := failure{lines: t, line: e.Mark.Line, column: e.Mark.Column, began: e.ContextMark.Line, message: e.Message, context: e.ContextMsg}
	line, sentence := f.explain()
	d.fault(min(line, len(t)), notYAML+"%s", sentence)
}

// failure is where the parser gave up, with its own words.
type failure struct {
	lines            []string
	line, column     int // from 1
	began            int // the line on which what could not be read begins
	message, context string
}

// at is the character at which the parser gave up; 0 at the end of a line.
func (f failure) at() byte {
	if f.line < 1 || f.line > len(f.lines) {
		return 0
	}
	if line := f.lines[f.line-1]; f.column >= 1 && f.column <= len(line) {
		return []byte(string([]rune(line)[min(f.column, len([]rune(line)))-1]))[0]
	}
	return 0
}

// explain gives the line to look at and what is wrong there.
func (f failure) explain() (line int, sentence string) {
	says := func(words string) bool { return strings.Contains(f.message, words) }
	if opened, closed := f.longQuote(); opened > 0 && closed == f.line {
		return opened, fmt.Sprintf("the quote that is opened here ends on line %d; close it on its own line", closed)
	}
	switch {
	case says("end of stream") || says("document indicator"):
		return max(f.began, 1), "the quote that is opened here is never closed"
	case says("max depth"):
		return f.line, "brackets or blocks are nested too deeply"
	case says("tab") || f.at() == '\t':
		return f.line, "there is a tab where spaces are wanted; indent with spaces alone"
	case says("mapping values are not allowed") || says("expected ':'"):
		return f.colon()
	case says("escape") || says("hexadecimal"):
		return f.line, `\ begins an escape in double quotes; write \\, or single quotes around the value`
	case strings.Contains(f.context, "directive") || says("directive") || says("incompatible YAML") || strings.HasPrefix(f.lines[min(max(f.line, 1), len(f.lines))-1], "%"):
		return f.line, "no line begins with %; remove it, or quote what begins with %"
	case strings.Contains(f.context, "flow"):
		return f.bracket()
	case strings.Contains(f.context, "block scalar"):
		return f.line, "| and > begin a text on the next lines; quote a value that begins with one of them"
	case says("unknown anchor") || strings.Contains(f.context, "alias") || strings.Contains(f.context, "anchor"):
		return f.line, "an alias names nothing; quote a value that begins with * or &"
	case strings.Contains(f.context, "tag"):
		return f.line, "! begins a tag; quote a value that begins with it"
	case says("cannot start any token"):
		return f.line, fmt.Sprintf("no value begins with %c unless it is quoted", f.at())
	case f.at() == '}' || f.at() == ']':
		return f.line, fmt.Sprintf("there is nothing open that %c could close", f.at())
	case says("'-' indicator"):
		return f.line, "a list goes on with a dash in the column of the dash before, or ends with a line that is indented less"
	case says("expected key"):
		return f.line, "this line belongs to nothing above it: fields of one block begin in the same column, and nothing follows a closing quote"
	}
	return f.line, "look for a missing quote, bracket, colon or space here or on the line above"
}

// colon explains why a colon is wrong, or why one is missing: mostly on the line before.
func (f failure) colon() (line int, sentence string) {
	if f.line >= 1 && f.line <= len(f.lines) {
		before := []rune(f.lines[f.line-1])
		if strings.Contains(string(before[:min(max(f.column-1, 0), len(before))]), ": ") {
			return f.line, "there are two colons on one line; quote a value with a colon and a space in it"
		}
	}
	for n := min(f.line, len(f.lines)) - 1; n >= 1; n-- {
		above := strings.TrimSpace(f.lines[n-1])
		switch {
		case above == "" || strings.HasPrefix(above, "#"):
		case !strings.Contains(above, ": ") && !strings.HasSuffix(above, ":"):
			return n, "there is no colon with a space behind it, so there is no field; write name: value"
		default:
			return f.line, fmt.Sprintf("this is indented deeper than line %d, which has a value already; begin fields of one block in the same column", n)
		}
	}
	return f.line, "there is no colon with a space behind it, so there is no field; write name: value"
}

func (f failure) bracket() (line int, sentence string) {
	open, closing := "[", "]"
	if strings.Contains(f.context, "mapping") {
		open, closing = "{", "}"
	}
	switch at := f.at(); {
	case strings.Contains(f.message, "node content"):
		return f.line, "there is a comma or bracket where a value is wanted"
	case f.began > 0 && f.began < f.line:
		return f.began, fmt.Sprintf("the %s that is opened here is not closed, or a comma is missing in it (by line %d)", open, f.line)
	case at == ':':
		return f.line, "there is a colon where a comma is wanted; quote a value with a colon in it"
	}
	return f.line, fmt.Sprintf("a comma or %s is missing", closing)
}

// longQuote gives the lines of the quoted value that ends last before the parser gave up, if it
// is longer than one line: mostly its own end is missing, and the next one's beginning was taken.
func (f failure) longQuote() (opened, closed int) {
	var quote byte
	begins, start := true, 0
	for n := 1; n <= min(f.line, len(f.lines)); n++ {
		line := f.lines[n-1]
		begins = true
		for i := 0; i < len(line); i++ {
			c := line[i]
			switch {
			case n == f.line && i >= f.column-1:
				return opened, closed
			case quote != 0 && c == '\\' && quote == '"', quote == '\'' && c == '\'' && strings.HasPrefix(line[i+1:], "'"):
				i++
			case quote != 0 && c == quote:
				opened, closed, quote = 0, 0, 0
				if start < n {
					opened, closed = start, n
				}
			case quote != 0:
			case begins && (c == '"' || c == '\''):
				quote, start = c, n
			case c == '#' && (i == 0 || line[i-1] == ' '):
				i = len(line)
			case c == ' ':
			default:
				begins = strings.IndexByte("[{,:-", c) >= 0
			}
		}
	}
	return opened, closed
}
