package state

import (
	"errors"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// format is the number of the format that this program writes. It grows with every
// change that an older program would misread; migrations has a step to each.
//
//	0: files from before there was a number
//	1: the same buckets, and the number
//	2: the ledger of versions. An older program would not keep it up, and what it let
//	   through would look older than it is
const format = 2

var (
	metaBucket = []byte("meta")
	formatKey  = []byte("format") // in decimal
)

// errNewer is of a file that a newer program has written.
var errNewer = errors.New("a newer breakwater has written it")

// migrations has at n what brings a file from format n to the next.
var migrations = [format]func(*bolt.Tx) error{
	func(*bolt.Tx) error { return nil }, // the number itself
	prepareVersions,
}

// formatOf reads the file's format.
func formatOf(tx *bolt.Tx) (int, error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return 0, nil
	}
	n, err := strconv.Atoi(string(meta.Get(formatKey)))
	if err != nil || n < 0 {
		return 0, errors.New("its format is no number")
	}
	return n, nil
}

// checkFormat is an error for a file that this program cannot read.
func checkFormat(tx *bolt.Tx) error {
	n, err := formatOf(tx)
	if err == nil && n > format {
		return fmt.Errorf("%w: it has format %d, and this program knows formats up to %d; run the newer program, or move the file away (the edge then asks its sources again)", errNewer, n, format)
	}
	return err
}

// migrate brings the file to this format, and writes the number down, all in the
// caller's transaction: after a crash the file has one format or the other.
func migrate(tx *bolt.Tx) error {
	n, err := formatOf(tx)
	if err != nil {
		return err
	}
	for ; n < format; n++ {
		if err := migrations[n](tx); err != nil {
			return fmt.Errorf("bring it from format %d to %d: %w", n, n+1, err)
		}
	}
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	return meta.Put(formatKey, []byte(strconv.Itoa(format)))
}
