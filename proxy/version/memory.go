package version

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
)

// memory is the State of an edge that keeps nothing.
type memory struct {
	epoch string

	mu     sync.Mutex
	values map[string]logged
	last   uint64
	heard  map[string]Heard
}

type logged struct {
	value    []byte
	position uint64
}

func newMemory() *memory {
	return &memory{epoch: rand.Text(), values: map[string]logged{}, heard: map[string]Heard{}}
}

// Epoch implements State.
func (m *memory) Epoch() string { return m.epoch }

// Versioned implements State.
func (m *memory) Versioned(key string) (value []byte, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key].value, true
}

// EachVersioned implements State.
func (m *memory) EachVersioned(prefix string, do func(key string, value []byte)) {
	m.mu.Lock()
	found := map[string][]byte{}
	for key, v := range m.values {
		if strings.HasPrefix(key, prefix) {
			found[key] = v.value
		}
	}
	m.mu.Unlock()
	for key, value := range found {
		do(key, value)
	}
}

// PutVersioned implements State.
func (m *memory) PutVersioned(values map[string][]byte, heard *Heard) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, value := range values {
		if value == nil {
			delete(m.values, key)
			continue
		}
		m.last++
		m.values[key] = logged{value, m.last}
	}
	if heard != nil {
		m.heard[heard.Datacenter] = *heard
	}
	return nil
}

// TouchVersioned implements State.
func (m *memory) TouchVersioned(key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.values[key]; ok {
		m.values[key] = logged{value, v.position}
	}
	return nil
}

// Since implements State.
func (m *memory) Since(position uint64, most int, do func(position uint64, key string, value []byte)) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var after []string
	for key, v := range m.values {
		if v.position > position {
			after = append(after, key)
		}
	}
	slices.SortFunc(after, func(a, b string) int { return cmp.Compare(m.values[a].position, m.values[b].position) })
	for _, key := range after[:min(most, len(after))] {
		do(m.values[key].position, key, m.values[key].value)
	}
	return m.last
}

// ForgetHeard implements State.
func (m *memory) ForgetHeard() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.heard)
	return nil
}

// HeardOf implements State.
func (m *memory) HeardOf(datacenter string) Heard {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard[datacenter]
}
