package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/proxy/traffic"
)

// TrafficPage is what goes through the edge that serves the console (breakwater traffic).
func TrafficPage(report func() traffic.Report) Page {
	return Page{
		Path: "traffic", Title: "Traffic", Template: "traffic.html", Every: 10 * time.Second,
		Icon:  "M3 17l5-6 4 4 5-8 4 5",
		About: "What this edge was asked and what it brought, of the last hours. It is in the edge's memory: a restart begins anew.",
		Data:  func(context.Context, *http.Request) (any, error) { return trafficView{report()}, nil },
	}
}

// trafficView is a report as the page shows it.
type trafficView struct{ traffic.Report }

// spark is one number of a report, and how it was.
type spark struct {
	Label, Value, Note string
	Line, Area         string // points of an SVG polyline and polygon, on 240 x 40
	Says               string // the line in words
}

// Sparks are the numbers on top of the page.
func (v trafficView) Sparks() []spark {
	r := v.Recent
	quiet := "none"
	if r.Content > 0 {
		quiet = fmt.Sprintf("%.1f %%", 100*float64(r.Hits)/float64(r.Content))
	}
	each := func(of func(traffic.Flow) int64) func(traffic.Point) float64 {
		return func(p traffic.Point) float64 { return float64(of(p.Flow)) / max(1, p.Seconds) }
	}
	requests := func(f traffic.Flow) int64 { return f.Requests }
	toClients := func(f traffic.Flow) int64 { return f.ToClients }
	saved := func(f traffic.Flow) int64 { return f.Saved }
	brought := func(f traffic.Flow) int64 { return f.FromPeers + f.FromUpstreams }
	failed := func(f traffic.Flow) int64 { return f.Failed + f.SourceFailures }
	count := func(n float64) string { return fmt.Sprintf("%.1f/s", n) }
	bytes := func(n float64) string { return status.Size(int64(n)) + "/s" }
	return []spark{
		v.spark("Requests", fmt.Sprint(r.Requests), fmt.Sprintf("%d being answered now", v.InFlight), each(requests), count),
		v.spark("Content from the store", quiet, fmt.Sprintf("%d of %d reads", r.Hits, r.Content), func(p traffic.Point) float64 {
			return 100 * float64(p.Hits) / float64(max(1, p.Content))
		}, func(n float64) string { return fmt.Sprintf("%.0f %%", n) }),
		v.spark("To clients", status.Size(r.ToClients), status.Size(r.ToPeers)+" to other edges", each(toClients), bytes),
		v.spark("Saved on WAN and upstreams", status.Size(r.Saved), status.Size(v.Start.Saved)+" since the start", each(saved), bytes),
		v.spark("From WAN and upstreams", status.Size(r.FromPeers+r.FromUpstreams), status.Size(r.FromHarbor)+" from the local Harbor", each(brought), bytes),
		v.spark("Failures", fmt.Sprint(r.Failed+r.SourceFailures), fmt.Sprintf("%d answers of the edge, %d of sources", r.Failed, r.SourceFailures), each(failed), count),
	}
}

// spark draws a number of the last six hours or, before there are many, of the last minutes.
func (v trafficView) spark(label, value, note string, of func(traffic.Point) float64, unit func(float64) string) spark {
	s, points, since := spark{Label: label, Value: value, Note: note}, v.Hours.Points, "6 hours"
	if len(points) < 15 {
		points, since = v.Quarter.Points, "15 minutes"
	}
	if len(points) < 2 {
		s.Says = label + ": there are no samples yet"
		return s
	}
	most := 0.0
	for _, p := range points {
		most = max(most, of(p))
	}
	var line strings.Builder
	for i, p := range points {
		height := 0.0
		if most > 0 {
			height = 36 * of(p) / most
		}
		fmt.Fprintf(&line, "%.1f,%.1f ", 240*float64(i)/float64(len(points)-1), 38-height)
	}
	s.Line = strings.TrimSpace(line.String())
	s.Area = "0,40 " + s.Line + " 240,40"
	s.Says = fmt.Sprintf("%s, the last %s: now %s, at most %s", label, since, unit(of(points[len(points)-1])), unit(most))
	return s
}

// Window is how long the numbers on top of the page are of.
func (v trafficView) Window() string { return seconds(v.Seconds) }

// FillsPage is what comes into the store of the edge that serves the console (breakwater fills).
func FillsPage(report func() traffic.FillsReport) Page {
	return Page{
		Path: "fills", Title: "Fills", Template: "fills.html", Every: 2 * time.Second,
		Icon:  "M12 3v12M7 10l5 5 5-5M4 20h16",
		About: "Blobs that come into this edge's store now, the largest first, 200 at most.",
		Data:  func(context.Context, *http.Request) (any, error) { return fillsView{report()}, nil },
	}
}

type fillsView struct{ traffic.FillsReport }

// Rows are the fills as the page shows them.
func (v fillsView) Rows() (rows []fillRow) {
	for _, f := range v.Fills {
		rows = append(rows, fillRow{f})
	}
	return rows
}

type fillRow struct{ traffic.Fill }

// Name is a digest as people tell it from others.
func (f fillRow) Name() string { return brief(f.Digest.String()) }

// Speed is bytes a second, in words.
func (f fillRow) Speed() string { return status.Size(int64(f.Rate)) + "/s" }

// Took is how long it has been under way.
func (f fillRow) Took() string { return seconds(f.Seconds) }

// From is who brings it.
func (f fillRow) From() string { return strings.Join(f.Sources, ", ") }
