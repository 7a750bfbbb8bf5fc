package provision

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// loadable writes a fleet file that can be loaded. What Harbors have and a fleet file may
// not is left out and noted; where that is not enough there is none.
func (x *exporter) loadable() (*fleet.Fleet, error) {
	left := map[string]bool{} // projects
	var why []string
	for {
		x.out.Reset()
		x.notes, x.found, x.unsaid = slices.Clone(why), nil, map[string]bool{}
		for full := range left {
			x.unsaid[full] = true
		}
		x.write()
		f, err := fleet.Load("fleet.yaml", []byte(x.out.String()))
		if err == nil {
			return f, nil
		}
		var faults fleet.Faults
		if !errors.As(err, &faults) {
			return nil, err
		}
		before := len(why)
		for _, fault := range faults {
			field, full := x.leavable(fault.Field)
			if field == "" {
				return nil, fmt.Errorf("what these Harbors have is no fleet file that could be loaded: %s: %s", fault.Field, fault.Message)
			}
			if x.left[field] || left[full] {
				continue // for another fault of it
			}
			what := field
			if x.left[field] = true; full != "" {
				left[full], what = true, "project "+full
			}
			why = append(why, fmt.Sprintf("%s is left out, as a fleet file may not have it: %s: %s", what, strings.TrimPrefix(strings.TrimPrefix(fault.Field, field), "."), fault.Message))
		}
		if len(why) == before {
			return nil, fmt.Errorf("what these Harbors have is no fleet file that could be loaded: %w", err)
		}
	}
}

// leavable is the part of the file that a field is in and that the rest can do without; of a
// project its full name too.
func (x *exporter) leavable(field string) (part, project string) {
	within := func(part string) bool {
		rest, ok := strings.CutPrefix(field, part)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	for _, part := range []string{"harbor.oidc", "harbor.gc", "harbor.settings"} {
		if within(part) {
			return part, ""
		}
	}
	for _, kind := range []struct{ field, prefix string }{{"projects.multi-dc.", naming.MultiDC}, {"projects.cache.", naming.Cache}, {"projects.repl.", naming.Repl}} {
		for _, full := range x.all(kindProject) {
			// A project's name may have dots: of two that fit it is the longer one.
			if name := x.nameOf(full); x.kindOf(full) == kind.prefix && within(kind.field+name) && len(kind.field+name) > len(part) {
				part, project = kind.field+name, full
			}
		}
	}
	return part, project
}

// writeVault writes where references to a Vault are looked up, if there are any.
func (x *exporter) writeVault() {
	if !strings.HasPrefix(x.options.Secret, "vault:") {
		return
	}
	at := x.options.Vault
	if at == "" {
		at = "https://vault.example.org"
		x.note("secrets.vault.address is an example's: write where your Vault is (or export with --vault)")
	}
	x.line(0, "secrets:\n  vault:\n    address: %q\n    login: { token: \"file:/etc/breakwater/vault-token\" }  # or approle, or kubernetes", at)
}

// address is a Harbor's as the fleet file has it.
func address(written string) string { return strings.TrimRight(written, "/") }

var plainKey = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// key is a name as a key of the file.
func key(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}
