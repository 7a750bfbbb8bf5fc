package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"example.org/breakwater/internal/fleet"
)

// maxSecret bounds a secret in a file.
const maxSecret = 64 << 10

// secrets looks references up, each place once. It is not for concurrent use.
type secrets struct {
	vault  *vault // nil: the fleet has none
	found  map[fleet.Ref]string
	faults map[string]bool
}

func newSecrets(f *fleet.Fleet) (*secrets, error) {
	s := &secrets{found: map[fleet.Ref]string{}, faults: map[string]bool{}}
	if f.Secrets.Vault.Address == "" {
		return s, nil
	}
	var err error
	s.vault, err = newVault(f, s)
	return s, err
}

// get looks a reference up; {name} in it is the project's name. What cannot be had is
// gathered: all faults are said at once, before anything is written.
func (s *secrets) get(ctx context.Context, ref fleet.Ref, project string) string {
	ref.Path, ref.Key = strings.ReplaceAll(ref.Path, "{name}", project), strings.ReplaceAll(ref.Key, "{name}", project)
	if v, ok := s.found[ref]; ok || ref.IsZero() {
		return v
	}
	v, err := s.look(ctx, ref)
	if err == nil && v == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		s.faults[fmt.Sprintf("%s: %v", ref, err)] = true
	}
	s.found[ref] = v
	return v
}

func (s *secrets) look(ctx context.Context, ref fleet.Ref) (string, error) {
	switch ref.Scheme {
	case "env":
		v, ok := os.LookupEnv(ref.Path)
		if !ok {
			return "", errors.New("there is no such variable in the environment")
		}
		return v, nil
	case "file":
		return readSecret(ref.Path)
	case "vault":
		if s.vault == nil {
			return "", errors.New("there is no Vault to look it up in; write secrets.vault.address")
		}
		return s.vault.get(ctx, ref.Path, ref.Key)
	}
	return "", fmt.Errorf("there is no scheme %q", ref.Scheme)
}

func readSecret(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", err
	case info.Size() > maxSecret:
		return "", fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	data, err := os.ReadFile(name)
	return strings.TrimRight(string(data), "\r\n"), err
}

// err is everything that could not be looked up.
func (s *secrets) err() error {
	var all []error
	for _, text := range slices.Sorted(maps.Keys(s.faults)) {
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}
