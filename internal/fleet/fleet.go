// Package fleet reads fleet.yaml into plain data. It is strict: whatever is
// wrong with a file is reported in one run, each fault with its line. It has no
// behaviour beyond that. The comments of the fields are the operator's manual.
package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Fleet is the whole file.
type Fleet struct {
	Version     *int                   `yaml:"version"`     // of this format; there is no other yet; default 1
	Domain      string                 `yaml:"domain"`      // the one name that clients use; required
	Datacenters map[string]*Datacenter `yaml:"datacenters"` // by name: lower-case letters, digits and dashes; required
	Secrets     Secrets                `yaml:"secrets"`     // where vault: references are looked up
	Harbor      Harbor                 `yaml:"harbor"`      // what all Harbors share
	Projects    Projects               `yaml:"projects"`    // that are managed, by kind; all others are passed on to Harbor
	Edge        Edge                   `yaml:"edge"`        // the same on every edge of the fleet
	GSLB        *GSLB                  `yaml:"gslb"`        // the same on every name server; absent: there are none, and {}: all defaults

	Order []string // the datacenters' names as they stand in the file
	Notes []Note   // what can be so and is seldom meant, in the order of its lines

	file  string
	lines map[string]int // by path, of what is written
}

// Line is the line of the file that a field stands in; 0: in none.
func (f *Fleet) Line(field string) int { return f.lines[field] }

// Fault is one thing that is wrong with a file.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 where the file as a whole is meant
	Field   string `json:"field"`
	Message string `json:"message"` // what is wrong; what to do
}

// String is the fault as "fleet.yaml:17: field: message".
func (f Fault) String() string {
	s := f.File
	if f.Line > 0 {
		s += fmt.Sprintf(":%d", f.Line)
	}
	if f.Field != "" {
		s += ": " + f.Field
	}
	return s + ": " + f.Message
}

// Faults is everything that is wrong with a file, in the order of its lines.
type Faults []Fault

// Error is a line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// Version is the format that this program reads.
const Version = 1

// maxFile bounds a fleet file: a thousand times the example.
const maxFile = 4 << 20

// ReadFile loads the file of that name.
func ReadFile(name string) (*Fleet, error) {
	file, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return Read(name, file)
}

// openFile opens a fleet file, which is a regular one.
func openFile(name string) (*os.File, error) {
	info, err := os.Stat(name) // a pipe that nobody writes to would let an open wait
	switch {
	case name == "":
		return nil, errors.New("the fleet file has no name: say which file it is")
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no fleet file %s; breakwater init writes a first one", name)
	case err != nil:
		return nil, fmt.Errorf("read fleet file: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory; name the fleet file in it", name)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file; give the fleet file itself, or - for standard input", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read fleet file: %w", err)
	}
	return file, nil
}

// Read loads what r holds; name stands in the faults. No more of it is read than a fleet
// file may have.
func Read(name string, r io.Reader) (*Fleet, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return Load(name, data)
}

// Load parses data, fills in the defaults and checks what can be checked
// without a network. name stands in the faults. The error is Faults.
func Load(name string, data []byte) (*Fleet, error) {
	if len(data) > maxFile {
		return nil, Faults{{File: name, Message: fmt.Sprintf("the file is larger than %d bytes; no fleet needs that", maxFile)}}
	}
	d := &decoder{file: name, lines: map[string]int{}}
	f := &Fleet{}
	if d.load(data, f) {
		if f.Version != nil && *f.Version > Version { // what else it says is not for this program to judge
			return nil, Faults{{name, d.lines["version"], "version", fmt.Sprintf("this file is of version %d, and this program reads %d; take a newer breakwater", *f.Version, Version)}}
		}
		f.Order, f.file, f.lines = d.order, name, d.lines
		f.setDefaults()
		f.check(d)
	}
	if len(d.faults) == 0 {
		f.note(d)
		return f, nil
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Field, b.Field)) })
	return nil, slices.Compact(d.faults)
}
