// Package secret looks up what the fleet file refers to: in files, in the
// environment, in a Vault. No error of it holds what was found.
package secret

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/keyring"
)

// longest bounds a secret in a file, in bytes.
const longest = 64 << 10

// Store looks references up, each once. It is not for concurrent use.
type Store struct {
	fleet  *fleet.Fleet
	vault  *vault // nil: the fleet has none
	found  map[fleet.Ref]string
	faults map[fleet.Ref]error     // what keeps a reference from being looked up, without it
	as     map[fleet.Ref]fleet.Ref // what was looked up, as the fleet file has it: with {name}
}

// New prepares to look up the references of a fleet file; nothing is asked yet.
func New(f *fleet.Fleet) (*Store, error) {
	s := &Store{fleet: f, found: map[fleet.Ref]string{}, faults: map[fleet.Ref]error{}, as: map[fleet.Ref]fleet.Ref{}}
	if f.Secrets.Vault.Address == "" {
		return s, nil
	}
	var err error
	s.vault, err = newVault(f, s)
	return s, err
}

// Get looks a reference up; "" for one that is unset. The error names the reference.
func (s *Store) Get(ctx context.Context, ref fleet.Ref) (string, error) {
	if _, ok := s.found[ref]; !ok && !ref.IsZero() {
		v, err := s.look(ctx, ref)
		if err == nil && v == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			s.faults[ref] = err
		}
		s.found[ref] = v
	}
	if err := s.faults[ref]; err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return s.found[ref], nil
}

// For is a reference for a project, whose name {name} in it stands for.
func For(ref fleet.Ref, project string) fleet.Ref {
	ref.Path, ref.Key = strings.ReplaceAll(ref.Path, "{name}", project), strings.ReplaceAll(ref.Key, "{name}", project)
	return ref
}

// GetFor is Get for a project, whose name {name} in the reference stands for.
func (s *Store) GetFor(ctx context.Context, ref fleet.Ref, project string) (string, error) {
	of := For(ref, project)
	s.as[of] = ref
	return s.Get(ctx, of)
}

// Gather is GetFor; what cannot be had is gathered for Err.
func (s *Store) Gather(ctx context.Context, ref fleet.Ref, project string) string {
	v, _ := s.GetFor(ctx, ref, project)
	return v
}

// Keys looks up what a section of the fleet file that daemons share, as edge.peers, has as
// its key and previous_key. nil: it has none. The error names the field.
func (s *Store) Keys(ctx context.Context, section string, key, previous fleet.Ref) (*keyring.Ring, error) {
	secret, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", section, err)
	}
	before, err := s.Get(ctx, previous)
	if err != nil {
		return nil, fmt.Errorf("%s.previous_key: %w", section, err)
	}
	ring, err := keyring.New(secret, before)
	if err != nil {
		return nil, fmt.Errorf("%s.%w", section, err)
	}
	return ring, nil
}

// Webhook is the secret with which the Harbor of a datacenter tells its edge of what
// happens in a project, named as Harbor names it (multi-dc-app). Harbor shows a webhook's
// header to the project's administrators. So it cannot be the key that all edges share,
// and what they read must be good for this project of this datacenter alone: it is
// derived from a key of Webhooks, which cannot be had back from it.
func Webhook(key keyring.Key, datacenter, project string) string {
	mac := hmac.New(sha256.New, key.Secret)
	mac.Write([]byte(datacenter + "\x00" + project)) //nolint:errcheck // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// Preheat is the password with which the Harbor of a datacenter asks its edge for the images of
// preheat policies. Older Harbors may show it to administrators of the system (auth_info of an
// instance): it is good for asking this datacenter's edge to preheat, and for nothing else.
func Preheat(key keyring.Key, datacenter string) string {
	mac := hmac.New(sha256.New, key.Secret)
	mac.Write([]byte(datacenter)) //nolint:errcheck // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

func (s *Store) look(ctx context.Context, ref fleet.Ref) (string, error) {
	switch ref.Scheme {
	case "env":
		v, ok := os.LookupEnv(ref.Path)
		if !ok {
			return "", errors.New("there is no such variable in the environment: set it, or write another reference")
		}
		return v, nil
	case "file":
		return read(ref.Path)
	case "vault":
		if s.vault == nil {
			return "", errors.New("there is no Vault to look it up in; write secrets.vault.address")
		}
		return s.vault.get(ctx, ref.Path, ref.Key)
	}
	return "", fmt.Errorf("there is no scheme %q", ref.Scheme)
}

func read(name string) (string, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > longest {
		return "", fmt.Errorf("it is larger than %d bytes", longest)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	var of *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("no such file: put the secret there, or write another reference")
	case errors.Is(err, fs.ErrPermission):
		err = errors.New("this account may not read the file: let it")
	case errors.As(err, &of):
		err = of.Err // the reference names the file
	}
	return strings.TrimRight(string(data), "\r\n"), err
}
