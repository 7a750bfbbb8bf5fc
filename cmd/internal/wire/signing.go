package wire

import (
	"errors"
	"fmt"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/fleet"
)

// KeyFault is a field that names no key to sign with, and why, in a sentence that goes on
// after it. What it unwraps to tells a file that is not there or not readable (io/fs).
type KeyFault struct {
	Field string
	error
}

// Unwrap is why.
func (k KeyFault) Unwrap() error { return k.error }

// SigningKeys are what the fleet's zones are signed with, the key in use first, as far as
// they can be read; none: they are not signed.
func SigningKeys(f *fleet.Fleet) (keys []*gslb.SigningKey, faults []KeyFault) {
	if f.GSLB == nil {
		return nil, nil
	}
	for _, of := range []struct{ field, file string }{{"gslb.dnssec.key", f.GSLB.DNSSEC.Key}, {"gslb.dnssec.previous_key", f.GSLB.DNSSEC.PreviousKey}} {
		if of.file == "" {
			continue
		}
		key, err := gslb.ReadSigningKey(of.file)
		if err == nil && len(keys) > 0 && key.Equal(keys[0]) {
			err = errors.New(of.file + " has the same key as gslb.dnssec.key: put the key of before there, or leave it out")
		}
		if err != nil {
			faults = append(faults, KeyFault{of.field, err})
			continue
		}
		keys = append(keys, key)
	}
	return keys, faults
}

// zoneKeys are all keys; the error says where the fleet file names one that is none.
func zoneKeys(f *fleet.Fleet) ([]*gslb.SigningKey, error) {
	keys, faults := SigningKeys(f)
	var all []error
	for _, fault := range faults {
		all = append(all, fmt.Errorf("%s: %w", f.Where(fault.Field), fault))
	}
	return keys, errors.Join(all...)
}
