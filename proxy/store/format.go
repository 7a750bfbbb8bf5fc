package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// format is the number of the layout that this program reads and writes. README.md
// describes the layout. Any change that an older program would misread needs the
// next number, and a case in migrate.
const format = 1

// maxFormatFile is more than the digits of any number that a program wrote.
const maxFormatFile = 32

func (s *Store) formatPath() string { return filepath.Join(s.cfg.Dir, "format") }

// readFormat returns the number in the store's format file. It returns 0 for a
// store without the file: a new directory, or a store from before there were
// numbers. A store of a newer format is refused: its files may mean something else
// than this program takes them for. A damaged file is refused too. A crash cannot
// leave one, because writeFormat renames a complete file, so any guess at the
// number could be wrong.
func (s *Store) readFormat() (int, error) {
	path := s.formatPath()
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFormatFile))
	n, damage := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 31)
	switch {
	case err != nil:
		return 0, fmt.Errorf("the format number cannot be read: %w: repair the directory, or give edge.store.path an empty one", err)
	case damage != nil:
		return 0, fmt.Errorf("%s holds %q, which is no format number: write the number of the program that used the store last (this one's is %d), "+
			"or give edge.store.path an empty directory", path, text, format)
	case n > format:
		return 0, fmt.Errorf("%s has format %d, this program knows formats up to %d: run the newer program again, or give edge.store.path an empty directory",
			s.cfg.Dir, n, format)
	}
	return int(n), nil
}

// migrate brings a store of an older format to this program's, one number at a
// time. A number is written after its step is complete. After a crash the step runs
// again, so every step must bear that.
func (s *Store) migrate(from int) error {
	for n := from; n < format; n++ {
		switch n {
		case 0: // a store without a number has the layout of format 1
		}
		if err := s.writeFormat(n + 1); err != nil {
			return fmt.Errorf("write the format number: %w", err)
		}
	}
	return nil
}

// writeFormat writes the number so that a crash leaves the old file or the new one,
// and never a part of it: temporary file, fsync, rename, fsync of the directory.
func (s *Store) writeFormat(n int) error {
	file, err := os.CreateTemp(s.tempDir(), "format-")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = fmt.Fprintln(file, n); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(file.Name(), s.formatPath())
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(s.cfg.Dir)
}
