package announce_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.org/breakwater/proxy/version"
)

// kept is a version.State that can be put back to what it was.
type kept struct {
	mu     sync.Mutex
	epoch  string
	values map[string][]byte
	at     map[string]uint64
	last   uint64
	heard  map[string]version.Heard
}

func newLog() *kept {
	return &kept{epoch: "kept", values: map[string][]byte{}, at: map[string]uint64{}, heard: map[string]version.Heard{}}
}

func (k *kept) copy() *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return &kept{epoch: k.epoch, values: maps.Clone(k.values), at: maps.Clone(k.at), last: k.last, heard: maps.Clone(k.heard)}
}

// Epoch implements version.State.
func (k *kept) Epoch() string { return k.epoch }

// Versioned implements version.State.
func (k *kept) Versioned(key string) ([]byte, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[key], true
}

// ForgetHeard implements version.State.
func (k *kept) ForgetHeard() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.heard)
	return nil
}

// HeardOf implements version.State.
func (k *kept) HeardOf(datacenter string) version.Heard {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heard[datacenter]
}

// EachVersioned implements version.State.
func (k *kept) EachVersioned(prefix string, do func(string, []byte)) {
	for key, value := range k.copy().values {
		if strings.HasPrefix(key, prefix) {
			do(key, value)
		}
	}
}

// PutVersioned implements version.State.
func (k *kept) PutVersioned(values map[string][]byte, heard *version.Heard) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, value := range values {
		delete(k.values, key)
		delete(k.at, key)
		if value != nil {
			k.last++
			k.values[key], k.at[key] = value, k.last
		}
	}
	if heard != nil {
		k.heard[heard.Datacenter] = *heard
	}
	return nil
}

// TouchVersioned implements version.State.
func (k *kept) TouchVersioned(key string, value []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.values[key]; ok {
		k.values[key] = value
	}
	return nil
}

// Since implements version.State.
func (k *kept) Since(position uint64, most int, do func(uint64, string, []byte)) uint64 {
	c := k.copy()
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(c.at)), func(key string) bool { return c.at[key] <= position })
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(c.at[a], c.at[b]) })
	for _, key := range keys[:min(most, len(keys))] {
		do(c.at[key], key, c.values[key])
	}
	return c.last
}
