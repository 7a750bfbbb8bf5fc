package fleet

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/naming"
)

// Duration is written as 2s, 15m, 6h or 30d (of 24 hours).
type Duration time.Duration

func (d *Duration) parse(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err == nil && n >= 0 && n <= 36500 {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration; write 2s, 15m, 6h or 30d", text)
	}
	*d = Duration(v)
	return nil
}

// Keeping is how long something is kept: a Duration, or Forever.
type Keeping time.Duration

// Forever is a Keeping without end.
const Forever Keeping = math.MaxInt64

func (k *Keeping) parse(text string) error {
	if text == "forever" {
		*k = Forever
		return nil
	}
	var d Duration
	if err := d.parse(text); err != nil {
		return fmt.Errorf("%q is no time to keep something for; write 30d, forever or 0", text)
	}
	*k = Keeping(d)
	return nil
}

// String is as it is written.
func (k Keeping) String() string {
	if k == Forever {
		return "forever"
	}
	return Duration(k).String()
}

// String is the duration as it is written.
func (d Duration) String() string {
	if d != 0 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(time.Duration(d)/day), 10) + "d"
	}
	text := time.Duration(d).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// Size is a number of bytes, written as 500GiB, 2TiB, 10GB or 1048576;
// "unlimited" is -1.
type Size int64

// Unlimited is the quota that is none.
const Unlimited Size = -1

// sizes is how a size is written.
var sizes = regexp.MustCompile(`^(unlimited|-1|([0-9]+\.?[0-9]*|\.[0-9]+) *(B|[KMGTP]i?B)?)$`)

func (s *Size) parse(text string) error {
	if text == "unlimited" || text == "-1" {
		*s = Unlimited
		return nil
	}
	number := strings.TrimRight(text, "KMGTPiB")
	factor, ok := map[string]float64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[text[len(number):]]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !ok || !sizes.MatchString(text) || n*factor >= math.MaxInt64 {
		return fmt.Errorf("%q is no size; write 10GiB, 2TiB or unlimited", text)
	}
	if *s = Size(n * factor); *s == 0 {
		return errors.New("nothing fits in 0 bytes; write 10GiB, 2TiB or unlimited, or leave it out for the default")
	}
	return nil
}

// String is the size as it is written.
func (s Size) String() string {
	if s == Unlimited {
		return "unlimited"
	}
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for ; s >= 1<<10 && s%(1<<10) == 0 && len(units) > 1; units = units[1:] {
		s >>= 10
	}
	if units[0] == "" {
		return strconv.FormatInt(int64(s), 10) + " bytes"
	}
	return strconv.FormatInt(int64(s), 10) + units[0]
}

// Ref says where a secret is, and is never the secret: vault:<path>#<key>,
// file:<path> or env:<NAME>. The zero Ref names nothing.
type Ref struct{ Scheme, Path, Key string }

var errNoRef = errors.New("this is a secret, and secrets are not written here; write vault:<path>#<key>, file:<path> or env:<NAME>")

func (r *Ref) parse(text string) error {
	scheme, path, ok := strings.Cut(text, ":")
	if !ok || scheme != "vault" && scheme != "file" && scheme != "env" {
		return errNoRef // the value is not repeated: it may be the secret
	}
	*r = Ref{Scheme: scheme, Path: path}
	if scheme == "vault" {
		if r.Path, r.Key, ok = strings.Cut(path, "#"); !ok || r.Key == "" {
			return errors.New("a vault reference names its key: write vault:<path>#<key>")
		}
	}
	switch {
	case scheme == "vault" && strings.HasPrefix(r.Path, "//"):
		return errors.New("a path in Vault begins without slashes; write vault:<path>#<key>")
	case scheme == "env" && strings.ContainsAny(path, "$ ="):
		return errors.New("a variable is named without $, spaces and =; write env:<NAME>")
	case scheme == "file" && (strings.HasPrefix(path, "~") || strings.Contains(path, "$")):
		return errors.New("nothing is filled in for ~ and $; write file:<path>, from / on")
	}
	if r.Path == "" {
		return fmt.Errorf("the reference names no %s: write vault:<path>#<key>, file:<path> or env:<NAME>", map[string]string{"vault": "path", "file": "path", "env": "variable"}[scheme])
	}
	return nil
}

// IsZero reports whether the reference is unset.
func (r Ref) IsZero() bool { return r == Ref{} }

// String is the reference as it is written.
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	if r.Scheme == "vault" {
		return r.Scheme + ":" + r.Path + "#" + r.Key
	}
	return r.Scheme + ":" + r.Path
}

// Text is something that is no secret but may be kept with them: a plain value
// or a reference.
type Text struct {
	Value string
	Ref   Ref
}

func (t *Text) parse(text string) error {
	if scheme, _, ok := strings.Cut(text, ":"); ok && (scheme == "vault" || scheme == "file" || scheme == "env") {
		return t.Ref.parse(text)
	}
	t.Value = text
	return nil
}

// IsZero reports whether nothing is set.
func (t Text) IsZero() bool { return t == Text{} }

// Network is an IP prefix.
type Network struct{ netip.Prefix }

func (n *Network) parse(text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("%q is no network; write 10.1.0.0/16 or 2001:db8::/48", text)
	}
	if p.Masked() != p {
		return fmt.Errorf("%q has bits behind its length; write %s", text, p.Masked())
	}
	switch ip := p.Addr(); {
	case ip.Is4In6():
		return fmt.Errorf("%q is of IPv4, written as IPv6; write it as 10.1.0.0/16", text)
	case ip.IsMulticast():
		return fmt.Errorf("%q is of groups; no client comes from there", text)
	}
	n.Prefix = p
	return nil
}

// Addr is an IP address.
type Addr struct{ netip.Addr }

func (a *Addr) parse(text string) error {
	p, err := netip.ParseAddr(text)
	if err != nil || p.Zone() != "" {
		return fmt.Errorf("%q is no IP address", text)
	}
	a.Addr = p
	return nil
}

// Flatten says how much of an image's path a replication drops: all (keep the
// last element), none, or a number of leading elements.
type Flatten struct {
	Set   bool
	Count naming.Flatten
}

func (f *Flatten) parse(text string) error {
	n, err := strconv.Atoi(text)
	switch {
	case text == "all":
		n = int(naming.FlattenAll)
	case text == "none":
		n = 0
	case err != nil || n < 0 || n > 16:
		return fmt.Errorf("%q: want all, none or how many leading path elements to drop", text)
	}
	*f = Flatten{true, naming.Flatten(n)}
	return nil
}
