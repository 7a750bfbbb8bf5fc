package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.org/breakwater/proxy/content"
)

// ContentPage is what edges know of repositories and tags, side by side (breakwater content).
func ContentPage(ask func(ctx context.Context, q content.Query, now time.Time) content.Report) Page {
	return Page{
		Path: "content", Title: "Content", Template: "content.html", Query: []string{"repo", "project", "match", "after"},
		Icon:  "M4 6h16M4 12h16M4 18h10",
		About: "Repositories and tags as the edges know them, side by side. No Harbor is asked: what nobody pulled or pushed through an edge is not listed.",
		Data: func(ctx context.Context, r *http.Request) (any, error) {
			q, err := content.Parse(r.URL.Query())
			if err != nil {
				return nil, Input("%w", err)
			}
			return contentView{ask(ctx, q, time.Now()), r.URL.Query()}, nil
		},
	}
}

// contentView is a report as the page shows it.
type contentView struct {
	content.Report
	query url.Values
}

// More is the question for the next page.
func (v contentView) More() string {
	q := url.Values{"after": {v.Next}}
	for _, name := range []string{"repo", "project", "match"} {
		if value := v.query.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	return "content?" + q.Encode()
}

// Of is the question for the tags of a repository.
func (contentView) Of(repo string) string { return "content?" + url.Values{"repo": {repo}}.Encode() }

// Project is the one that is asked for.
func (v contentView) Project() string { return v.query.Get("project") }

// Cells are a tag in all datacenters, in the order of the columns.
func (v contentView) Cells(row content.TagRow) (all []contentCell) {
	for _, d := range v.Datacenters {
		all = append(all, contentCell{d.Datacenter, row.In[d.Datacenter]})
	}
	return all
}

// contentCell is a tag in one datacenter.
type contentCell struct {
	Datacenter string
	content.Cell
}

// Name is the digest as people tell it from others.
func (c contentCell) Name() string { return brief(c.Digest.String()) }

// Lag is what the datacenter is behind by, or was late by, in words; "": nothing worth a word.
func (c contentCell) Lag() string {
	switch {
	case c.State == content.Behind:
		return "behind by " + seconds(c.Behind)
	case c.Owed > 0:
		return "its Harbor lacks it for " + seconds(c.Owed)
	case c.Version != nil && c.Version.Late >= 1:
		return "heard " + seconds(c.Version.Late) + " later"
	}
	return ""
}

func brief(digest string) string {
	if len(digest) > 19 {
		return fmt.Sprintf("%.19s…", digest)
	}
	return digest
}
