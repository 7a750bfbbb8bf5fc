package provision

import (
	"encoding/json"
	"net/http"
	"testing"
)

// A cache whose keep_deleted is written has its Harbor keep what the upstream deletes, and one
// where it is not is left alone.
func TestHarborKeepsWhatTheFleetFileKeeps(t *testing.T) {
	f := newTestFleet(t)
	harbor := f.harbors["dc1"]
	keeps := func(want string) {
		t.Helper()
		var all map[string]string
		if err := json.Unmarshal(call(t, harbor, http.MethodGet, "/projects/"+id(found(t, harbor, "/projects", "cache-gcr.io"))+"/metadatas/", nil), &all); err != nil {
			t.Fatal(err)
		}
		if all[fieldKeeps] != want {
			t.Errorf("%s: %q, want %q", fieldKeeps, all[fieldKeeps], want)
		}
	}
	of := func(keep string) []string {
		return []string{`endpoint: "https://gcr.io"`, `endpoint: "https://gcr.io", keep_deleted: ` + keep}
	}
	f.apply(t, Options{}, of("30d")...)
	keeps("true")
	f.settled(t, of("30d")...)
	f.settled(t, of("forever")...)
	plan := f.apply(t, Options{}, of("0")...)
	if len(plan.Changes) != 3 || len(plan.Changes[0].Fields) != 1 || plan.Changes[0].Fields[0] != (FieldChange{fieldKeeps, "true", "false"}) {
		t.Errorf("%v", plan.Changes)
	}
	keeps("false")
	f.apply(t, Options{}, of("1h")...)
	keeps("true")
	f.settled(t) // as it is not written, nobody says what is right
	keeps("true")
}
