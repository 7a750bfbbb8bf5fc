package fleet

import (
	"bytes"
	"io"
)

// maxCuts bounds how often what is behind a fault of syntax is left out.
const maxCuts = 3

// Sketch is what can be read of a file that may have faults, as one that is being written has:
// for its names, which a shell completes, and for nothing that is to be done. Of what is no
// YAML it is what stands before. Where there is nothing to read it is an empty fleet.
func Sketch(name string) *Fleet {
	file, err := openFile(name)
	if err != nil {
		return new(Fleet)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return new(Fleet)
	}
	for range maxCuts {
		f, d := new(Fleet), &decoder{file: name, lines: map[string]int{}}
		if d.load(data, f) {
			f.Order, f.file, f.lines = d.order, name, d.lines
			f.setDefaults()
			return f
		}
		if len(d.faults) == 0 {
			break
		}
		lines := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1 // an end that is missing is behind them
		data = firstLines(data, min(d.faults[0].Line, lines)-1)
	}
	return new(Fleet)
}

// firstLines are so many lines of a text.
func firstLines(text []byte, n int) []byte {
	at := 0
	for ; n > 0; n-- {
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			return text
		}
		at += next + 1
	}
	return text[:at]
}
