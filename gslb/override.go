package gslb

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Override is what an operator said of a datacenter. It goes before what probes say.
type Override struct {
	Datacenter string    `json:"datacenter"`
	Name       string    `json:"name"` // one name with the final dot; "": all
	Mode       Mode      `json:"mode"`
	Until      time.Time `json:"until"` // zero: until it is taken back
	Reason     string    `json:"reason"`
	Since      time.Time `json:"since"`
	By         string    `json:"by,omitempty"` // who said it, as user@host
	// SafeAt is from when on the datacenter may stop: every answer that names it has run out
	// then. Zero: answers name it.
	SafeAt time.Time `json:"safe_at,omitzero"`
}

// takesOut reports whether the datacenter is to get no new clients.
func (o Override) takesOut() bool { return o.Mode == Drain || o.Mode == Down }

// covers reports whether the override is for the name.
func (o Override) covers(name string) bool { return o.Name == "" || o.Name == name }

// said is the override in the words of who reads: "par1 was drained at 10:12 by ann@desk (switches)".
func (o Override) said() string {
	text := o.Datacenter + " was " + map[Mode]string{Drain: "drained", Down: "forced down", Up: "forced up"}[o.Mode]
	if o.Name != "" {
		text += " for " + plainName(o.Name)
	}
	text += " at " + o.Since.Local().Format(time.DateTime)
	if o.By != "" {
		text += " by " + o.By
	}
	if o.Reason != "" {
		text += " (" + o.Reason + ")"
	}
	return text
}

// what is the override as a noun: "the drain of par1".
func (o Override) what() string {
	text := map[Mode]string{Drain: "the drain", Down: "the force down", Up: "the force up"}[o.Mode] + " of " + o.Datacenter
	if o.Name != "" {
		text += " for " + plainName(o.Name)
	}
	return text
}

// plainName is a name without its final dot, as people write it.
func plainName(name string) string { return strings.TrimSuffix(name, ".") }

// Mode is what an operator may say.
type Mode string

// The modes.
const (
	Drain Mode = "drain" // no new clients
	Up    Mode = "up"    // healthy, whatever the probes say
	Down  Mode = "down"  // not healthy, whatever the probes say; as drain, but in words an incident's
)

const (
	maxOverrides = 256
	maxReason    = 256
	maxBy        = 256
)

// effective is what was said of the datacenter for the name; what is said of one name
// goes before what is said of all, and what was said last before what was said earlier.
func effective(all []Override, now time.Time, datacenter, name string) (mode Mode) {
	for _, forAll := range []bool{true, false} {
		for _, o := range all {
			if o.Datacenter == datacenter && (o.Name == "") == forAll && (forAll || o.Name == name) && !o.expired(now) {
				mode = o.Mode
			}
		}
	}
	return mode
}

func (o Override) expired(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// check says what is wrong with an override for this fleet.
func (o Override) check(f *fleetNow, now time.Time) error {
	switch {
	case o.Mode != Drain && o.Mode != Up && o.Mode != Down:
		return fmt.Errorf("%q is none of drain, up, down", o.Mode)
	case !slices.ContainsFunc(f.Datacenters, func(dc Datacenter) bool { return dc.Name == o.Datacenter }):
		return fmt.Errorf("there is no datacenter %q", o.Datacenter)
	case o.Name != "" && !slices.ContainsFunc(f.Zones, func(z Zone) bool {
		return slices.ContainsFunc(z.Names, func(n Name) bool { return n.Name == o.Name })
	}):
		return fmt.Errorf("there is no name %q", o.Name)
	case o.expired(now):
		return fmt.Errorf("it would end before it begins")
	case len(o.Reason) > maxReason:
		return fmt.Errorf("the reason is longer than %d bytes", maxReason)
	case len(o.By) > maxBy:
		return fmt.Errorf("who says it is longer than %d bytes", maxBy)
	case !printable(o.Reason) || !printable(o.By):
		return fmt.Errorf("the reason, or who says it, has characters that cannot be printed")
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
