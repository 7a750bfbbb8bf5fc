package console

import (
	"context"
	"net/http"
	"time"

	"example.org/breakwater/cmd/internal/status"
)

// FleetPage is how the fleet is (breakwater status). ask asks all its nodes.
func FleetPage(ask func(context.Context) *status.Fleet) Page {
	return Page{
		Path: "fleet", Title: "Fleet", Template: "fleet.html", Every: 5 * time.Second,
		Icon:  "M3 5h18v6H3zM3 13h18v6H3zM7 8h.01M7 16h.01",
		About: "Every datacenter as its nodes tell it now, and what is wrong, worst first.",
		Data:  func(ctx context.Context, _ *http.Request) (any, error) { return ask(ctx), nil },
	}
}
