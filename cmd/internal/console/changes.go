package console

import (
	"context"
	"net/http"

	"example.org/breakwater/provision"
)

// maxShown is how many changes of a run a page shows.
const maxShown = 200

// ChangesPage is what provision last planned and did (breakwater provision last). read reads it,
// or says why there is none.
func ChangesPage(read func() (last provision.Last, none string, err error)) Page {
	return Page{
		Path: "changes", Title: "Changes", Template: "changes.html",
		Icon:  "M4 7h10M4 12h16M4 17h7M17 4v6M20 7h-6",
		About: "What provision last planned and last did to the fleet's Harbors, from this machine.",
		Data: func(context.Context, *http.Request) (any, error) {
			last, none, err := read()
			if err != nil {
				return nil, err
			}
			return changesView{last, none}, nil
		},
	}
}

// changesView is what was last as the page shows it.
type changesView struct {
	provision.Last
	None string `json:"none,omitempty"` // why there is nothing to show
}

// Runs are the last apply and the last plan, in the order in which somebody asks for them.
func (v changesView) Runs() []runView { return []runView{{"apply", v.Apply}, {"plan", v.Plan}} }

type runView struct {
	What string
	*provision.Run
}

// changeRow is a change of a run with what came of it.
type changeRow struct {
	provision.Change
	Outcome string // of an apply
	Reason  string
}

// Rows are the first changes of the run.
func (v runView) Rows() (all []changeRow) {
	results := map[provision.Key]provision.Result{}
	for _, r := range v.Results {
		results[r.Key] = r
	}
	for _, c := range v.Plan.Changes[:min(maxShown, len(v.Plan.Changes))] {
		r := results[c.Key]
		row := changeRow{Change: c, Outcome: r.Outcome, Reason: c.Why}
		if r.Why != "" {
			row.Reason = r.Why
		}
		all = append(all, row)
	}
	return all
}

// More is how many changes are not shown.
func (v runView) More() int { return max(0, len(v.Plan.Changes)-maxShown) }

// Count is how many changes there are in words: by what came of them, or by what is to be done.
func (v runView) Count() (all []countOf) {
	n := map[string]int{}
	for _, r := range v.Results {
		n[r.Outcome]++
	}
	words := []string{provision.Done, provision.Failed, provision.HalfDone, provision.Deferred, provision.Stopped}
	if len(v.Results) == 0 {
		for _, c := range v.Plan.Changes {
			n[c.Action]++
		}
		words = []string{provision.Create, provision.Update, provision.Delete, provision.Refuse}
	}
	for _, word := range words {
		if n[word] > 0 {
			all = append(all, countOf{n[word], word})
		}
	}
	return all
}

type countOf struct {
	N    int
	Word string
}

// Class is how the word is drawn.
func (c countOf) Class() string { return outcomeClass(c.Word) }

// Class is how the row's outcome is drawn.
func (r changeRow) Class() string { return outcomeClass(r.Outcome) }

func outcomeClass(word string) string {
	switch word {
	case provision.Done:
		return "ok"
	case provision.Failed, provision.HalfDone, provision.Refuse:
		return "wrong"
	case provision.Deferred, provision.Stopped, provision.Delete:
		return "warning"
	}
	return ""
}
