package console

import (
	"context"
	"net/http"
	"strings"

	"example.org/breakwater/proxy/explain"
)

const maxReference = 1 << 10 // bytes

// ImagePage says where an image would come from now (breakwater explain). Nobody is asked
// for it; its parameter is ref.
func ImagePage(ask func(reference string) (explain.Explanation, error)) Page {
	return Page{
		Path: "image", Title: "Where an image comes from", Template: "image.html", Query: []string{"ref"},
		Icon:  "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
		About: "What this edge holds of an image, how it knows, and whom it would ask, in which order. Nobody is asked for it.",
		Data: func(_ context.Context, r *http.Request) (any, error) {
			ref := strings.TrimSpace(r.URL.Query().Get("ref"))
			switch {
			case ref == "":
				return nil, nil
			case len(ref) > maxReference:
				return nil, Input("that is no reference: %d bytes are the most", maxReference)
			}
			x, err := ask(ref)
			if err != nil {
				return nil, Input("%w", err)
			}
			return x, nil
		},
	}
}

// stepChip is the state of a source.
func stepChip(s explain.Step) chip {
	switch s.State {
	case "up":
		return chip{Class: "ok", Text: "up"}
	case "paused":
		return chip{Class: "warning", Text: "paused"}
	}
	return chip{Class: "wrong", Text: s.State}
}

// first is the index of the source that is asked first; -1: nobody.
func first(x explain.Explanation) int {
	for i, s := range x.Route {
		if s.State == "up" {
			return i
		}
	}
	return -1
}
