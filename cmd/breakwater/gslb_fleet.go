package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/secret"
)

// askFleet asks the name server on this machine for what all of them say; where none
// answers, all of them itself, with the key that the fleet file names.
func askFleet(ctx context.Context, admin *adminFlags, local func() ([]byte, error), all func(*steer.Fleet) ([]byte, error)) ([]byte, error) {
	body, err := local()
	var op *net.OpError
	if err == nil || !errors.As(err, &op) || op.Op != "dial" || admin.config == "" {
		return body, err
	}
	f, own := fleetWithKey(ctx, admin.config)
	if own != nil {
		return nil, fmt.Errorf("%w; nor can all be asked from here: %w", err, own)
	}
	return all(f)
}

// fleetWithKey are all name servers of a fleet file, with its key.
func fleetWithKey(ctx context.Context, config string) (*steer.Fleet, error) {
	f, err := fleet.ReadFile(config)
	if err != nil {
		return nil, err
	}
	if f.GSLB == nil {
		return nil, errors.New("the fleet file has no gslb section")
	}
	secrets, err := secret.New(f)
	if err != nil {
		return nil, err
	}
	ring, err := secrets.Keys(ctx, "gslb", f.GSLB.Key, f.GSLB.PreviousKey)
	if err != nil {
		return nil, err
	}
	return steer.New(f, ring, "", nil)
}
