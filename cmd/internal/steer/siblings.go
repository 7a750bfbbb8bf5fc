package steer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/keyring"
)

// Siblings are the name servers of one datacenter, where several are behind one address:
// who tells one of them tells all.
type Siblings struct {
	*gslb.Node
	Name string        // the datacenter
	Host string        // where all are, this one too: DNS names or addresses, joined by commas; "": there is only this one
	Port string        // of gslb.peers
	Ring *keyring.Ring // nil: they cannot be told
}

// SteerAll steers all of them, or says which of them it could not.
func (s *Siblings) SteerAll(ctx context.Context, x gslb.Steering) (gslb.Steered, error) {
	if s.Host == "" || s.Ring == nil {
		return s.Steer(x)
	}
	ctx, cancel := context.WithTimeout(ctx, patience*3/4) // who asks for it waits no longer than patience
	defer cancel()
	var addresses []netip.Addr
	for host := range strings.SplitSeq(s.Host, ",") {
		more, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return gslb.Steered{}, fmt.Errorf("nothing is changed: the other name servers of %s are not known: %w", s.Name, err)
		}
		addresses = append(addresses, more...)
	}
	f := &Fleet{Ring: s.Ring, From: s.Name}
	slices.SortFunc(addresses, netip.Addr.Compare)
	for _, a := range addresses {
		f.Nodes = append(f.Nodes, Node{Name: s.Name, Label: a.Unmap().String(), Addresses: []string{net.JoinHostPort(a.Unmap().String(), s.Port)}})
	}
	x.Alone = true
	return together(s.Name, f.Steer(ctx, x))
}

// together is what several have made of a steering, as if they were one: it is done where
// all have done it.
func together(name string, told []Told) (all gslb.Steered, err error) {
	var failed []string
	nothing, did := true, ""
	for _, t := range told {
		d := t.Steered
		switch {
		case t.Nothing:
			continue
		case d == nil:
			failed = append(failed, t.Node+": "+t.Error)
			continue
		}
		if d.Done {
			did = "; the others have done it"
		}
		if nothing {
			nothing, all = false, *d
			continue
		}
		for _, trouble := range d.Troubles {
			if !slices.Contains(all.Troubles, trouble) {
				all.Troubles = append(all.Troubles, trouble)
			}
		}
		all.Done = all.Done && d.Done
		switch {
		case d.SafeAt.IsZero() || all.SafeAt.IsZero():
			all.SafeAt = time.Time{}
		case d.SafeAt.After(all.SafeAt):
			all.SafeAt = d.SafeAt
		}
	}
	switch {
	case len(failed) > 0:
		return gslb.Steered{}, fmt.Errorf("not all name servers of %s can be told: %s%s", name, strings.Join(failed, "; "), did)
	case nothing:
		return gslb.Steered{}, gslb.ErrNothingSaid
	}
	return all, nil
}
