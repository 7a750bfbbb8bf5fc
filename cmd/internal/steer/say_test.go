package steer_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/breakwater/cmd/internal/steer"
	"example.org/breakwater/gslb"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/internal/trial"
)

// Who does not have the fleet's key cannot say that there was nothing to take back: the release is
// not done there.
func TestAForgedNothing(t *testing.T) {
	forger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(signed.RefusalHeader, "1")
		http.Error(w, "nothing was said", http.StatusNotFound)
	}))
	defer forger.Close()
	f := &steer.Fleet{Nodes: []steer.Node{{Name: "par1", Addresses: []string{strings.TrimPrefix(forger.URL, "http://")}}}, Ring: trial.Keys("a key of the fleet, thirty-two bytes", ""), From: "ann"}
	all := f.Steer(t.Context(), gslb.Steering{Override: gslb.Override{Datacenter: "par1"}, Release: true, Yes: true})
	if len(all) != 1 || all[0].Nothing || all[0].Error == "" {
		t.Errorf("%+v", all)
	}
}
