package trial

import "example.org/breakwater/internal/keyring"

// Keys are those of a fleet whose secret it is, and of the one before it, "" for none. It
// panics where keyring refuses them.
func Keys(secret, previous string) *keyring.Ring {
	ring, err := keyring.New(secret, previous)
	if err != nil {
		panic(err)
	}
	return ring
}
