package status

import (
	"fmt"
	"strings"
	"time"

	"example.org/breakwater/proxy/operator"
)

const (
	behindFor    = time.Hour
	uncountedFor = 24 * time.Hour
)

// lag is the table of what is not yet the same everywhere, a line an instance that says so.
func (f *Fleet) lag(out *strings.Builder, paint Paint) {
	rows := []row{{cells: []string{"LAG", "INSTANCE", "PULLS UNCOUNTED", "TAGS NOT AT HARBOR", "TOMBSTONES"}, rest: "NOT TOLD"}}
	for _, d := range f.Datacenters {
		for _, e := range d.Edges {
			if r := e.Report; r != nil {
				rows = append(rows, row{[]string{d.Name, tail(r.Instance, 17), touchesCell(r), followCell(r), tombstonesCell(r)}, toldCell(r)})
			}
		}
	}
	if len(rows) > 1 {
		out.WriteString("\n")
		table(out, paint, []int{12, 17, 20, 24, 10}, rows)
	}
}

// since is so many, and for how long where the edge says that.
func since(n int, d time.Duration) string {
	if n == 0 || d == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d for %s", n, Short(d))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func touchesCell(r *operator.Report) string {
	if r.Touches == nil {
		return "-"
	}
	return since(r.Touches.Pending, seconds(r.Touches.Oldest))
}

func followCell(r *operator.Report) string {
	cell := since(r.Follow.Pending, seconds(r.Follow.Oldest))
	if r.Follow.GivenUp > 0 {
		cell += fmt.Sprintf(", %d given up", r.Follow.GivenUp)
	}
	return cell
}

func tombstonesCell(r *operator.Report) string {
	if r.Follow.Tombstones == nil {
		return "-"
	}
	return fmt.Sprint(*r.Follow.Tombstones)
}

// toldCell is what peers have not heard.
func toldCell(r *operator.Report) string {
	if len(r.Announce) == 0 {
		return "-"
	}
	var parts []string
	for _, a := range r.Announce {
		if a.Pending > 0 {
			parts = append(parts, fmt.Sprintf("%s lacks %s", a.Datacenter, since(int(a.Pending), seconds(a.Waiting))))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	return fit(strings.Join(parts, ", "), 60)
}

// lag looks at what a Harbor that is up has not been given for long, by the times of the alerts.
func (j judge) lag(d *Datacenter, r *operator.Report) {
	if r.Follow.GivenUp > 0 {
		j.say("harbor not following", d.Name, "its Harbor does not keep the newest version of %d tags.", r.Follow.GivenUp)
	}
	if !r.Harbor.Up {
		return
	}
	if late := seconds(r.Follow.Oldest); late > behindFor {
		j.say("harbor behind", d.Name, "its Harbor lacks the newest version of %d tags, of one for %s.", r.Follow.Pending, Short(late))
	}
	if r.Touches != nil && seconds(r.Touches.Oldest) > uncountedFor {
		j.say("pulls not counted", d.Name, "its Harbor has not been shown %d pulls, one of them for %s: its retention may delete what is pulled.", r.Touches.Pending, Short(seconds(r.Touches.Oldest)))
	}
}
