package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"example.org/breakwater/internal/lab"
)

// linked is a lab with nothing but links, to nobody.
func linked(t *testing.T) *running {
	t.Helper()
	l := &running{conditions: allWell()}
	t.Cleanup(func() { l.links.close() })
	for i := range places {
		for j := range places {
			if i == j {
				continue
			}
			r, err := lab.StartRelay(nil, "127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			if l.links == nil {
				l.links = links{}
			}
			l.links[[2]int{i, j}] = []*lab.Relay{r}
		}
	}
	return l
}

// carries is what the links do that are not well, as "par1 mad1 silent 40ms".
func (l *running) carries() (all []string) {
	for way, relays := range l.links {
		link, s := relays[0].Link(), places[way[0]].name+" "+places[way[1]].name
		if link.Silent {
			s += " silent"
		}
		if link.Delay > 0 {
			s += " " + link.Delay.String()
		}
		if link != (lab.Link{}) {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return all
}

// Each command in turn: what is broken then, and what the links do.
func TestLinksFollowTheCommands(t *testing.T) {
	l := linked(t)
	for _, c := range []struct{ do, says, links string }{
		{"partition par1 mad1", "Nothing passes between mad1 and par1.", "mad1 par1 silent, par1 mad1 silent"},
		{"partition mad1 par1", "Nothing passes between mad1 and par1.", "mad1 par1 silent, par1 mad1 silent"},
		{"slow mad1 40ms", "Nothing passes between mad1 and par1. What passes between mad1 and the others is 40ms late, each way.",
			"drp1 mad1 40ms, mad1 drp1 40ms, mad1 par1 silent 40ms, par1 mad1 silent 40ms"},
		{"heal par1 mad1", "What passes between mad1 and the others is 40ms late, each way.", "drp1 mad1 40ms, mad1 drp1 40ms, mad1 par1 40ms, par1 mad1 40ms"},
		{"slow drp1 10ms", "What passes between mad1 and the others is 40ms late, each way. What passes between drp1 and the others is 10ms late, each way.",
			"drp1 mad1 50ms, drp1 par1 10ms, mad1 drp1 50ms, mad1 par1 40ms, par1 drp1 10ms, par1 mad1 40ms"},
		{"slow mad1 1ms", "What passes between drp1 and the others is 10ms late, each way. What passes between mad1 and the others is 1ms late, each way.",
			"drp1 mad1 11ms, drp1 par1 10ms, mad1 drp1 11ms, mad1 par1 1ms, par1 drp1 10ms, par1 mad1 1ms"},
		{"partition drp1 par1", "Nothing passes between drp1 and par1. What passes between drp1 and the others is 10ms late, each way. What passes between mad1 and the others is 1ms late, each way.",
			"drp1 mad1 11ms, drp1 par1 silent 10ms, mad1 drp1 11ms, mad1 par1 1ms, par1 drp1 silent 10ms, par1 mad1 1ms"},
		{"heal drp1", "What passes between mad1 and the others is 1ms late, each way.", "drp1 mad1 1ms, mad1 drp1 1ms, mad1 par1 1ms, par1 mad1 1ms"},
		{"heal", "All is well.", ""},
	} {
		if err := l.do(strings.Fields(c.do)); err != nil {
			t.Errorf("%s: %v", c.do, err)
		}
		if got := strings.Join(l.conditions.sentences(), " "); got != c.says {
			t.Errorf("after %s it says %s\nwant %s", c.do, got, c.says)
		}
		if got := strings.Join(l.carries(), ", "); got != c.links {
			t.Errorf("after %s the links do %s\nwant %s", c.do, got, c.links)
		}
	}
}

func TestWhatIsAskedOfTheLabInVain(t *testing.T) {
	l := linked(t)
	for do, want := range map[string]string{
		"":                      "say what is to be done",
		"break harbor par2":     `there is no datacenter "par2": want one of par1, mad1, drp1`,
		"break disk par1":       `"disk" cannot be broken: want harbor or edge`,
		"partition par1 par1":   "par1 reaches itself in any case: want two datacenters",
		"partition par1 paris":  `there is no datacenter "paris": want one of par1, mad1, drp1`,
		"slow mad1 soon":        `"soon" is no delay: want one as 40ms, of a minute at most`,
		"slow mad1 -1s":         `"-1s" is no delay: want one as 40ms, of a minute at most`,
		"slow mad2 1s":          `there is no datacenter "mad2": want one of par1, mad1, drp1`,
		"heal harbor mad2":      `there is no datacenter "mad2": want one of par1, mad1, drp1`,
		"heal disk mad1":        `there is no datacenter "disk": want one of par1, mad1, drp1`,
		"mend par1 immediately": `there is no "mend par1 immediately"`,
	} {
		if err := l.do(strings.Fields(do)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", do, err, want)
		}
	}
	if len(l.carries()) > 0 || l.conditions.sentences()[0] != "All is well." {
		t.Error("something was broken all the same")
	}
}

func TestWhomContentIsFrom(t *testing.T) {
	for header, want := range map[string]string{
		"breakwater; hit": "store",
		"breakwater; hit; fwd=stale; detail=nobody-can-say": "store, nobody can say",
		"breakwater; fwd=stale; detail=harbor":              "store, as harbor says",
		"breakwater; fwd=miss; detail=peer-mad1; stored":    "peer-mad1",
		"breakwater; fwd=bypass; detail=harbor":             "harbor",
		"":                                                  "",
	} {
		if got := from(http.Header{"Cache-Status": {header}}); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}
