package status_test

import (
	"slices"
	"testing"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/proxy/operator"
)

func TestVersionsOfAllNodes(t *testing.T) {
	alike := of(t, func(_, _ *operator.Report) {}).Ask(t.Context()).Running()
	if len(alike) != 2 || alike[0].Node != "the edge of par1" || alike[0].Version != "1.0.0" || alike[1].Version != "1.0.0" || status.Differences(alike) != nil {
		t.Errorf("%+v: %q", alike, status.Differences(alike))
	}
	other := of(t, func(_, mad1 *operator.Report) { mad1.Version = "1.1.0" }).Ask(t.Context()).Running()
	if got, want := status.Differences(other), []string{"The edge of par1 runs 1.0.0.", "The edge of mad1 runs 1.1.0."}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	away := asker(t, "http://127.0.0.1:1", "http://127.0.0.1:2").Ask(t.Context()).Running()
	if len(away) != 2 || away[0].Version != "" || away[0].Why == "" || status.Differences(away) != nil {
		t.Errorf("%+v", away)
	}
}
