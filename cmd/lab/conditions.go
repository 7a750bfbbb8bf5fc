package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/breakwater/internal/lab"
)

// conditions are what is broken in the lab.
type conditions struct {
	Down       []down      `json:"down"`
	Partitions [][2]string `json:"partitions"` // datacenters that do not reach each other
	Slow       []slow      `json:"slow"`
}

// allWell is when nothing is.
func allWell() conditions { return conditions{[]down{}, [][2]string{}, []slow{}} }

type down struct {
	What       string `json:"what"` // harbor, edge
	Datacenter string `json:"datacenter"`
}

// slow is how late everything is that goes to the datacenter from others, or comes from there.
type slow struct {
	Datacenter string  `json:"datacenter"`
	Seconds    float64 `json:"seconds"` // each way
}

func (s slow) delay() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }

// sentences say what is broken, one each.
func (c *conditions) sentences() (all []string) {
	for _, d := range c.Down {
		what := map[string]string{"harbor": "Harbor", "edge": "edge"}[d.What]
		all = append(all, fmt.Sprintf("The %s of %s is down: connections are refused.", what, d.Datacenter))
	}
	for _, p := range c.Partitions {
		all = append(all, fmt.Sprintf("Nothing passes between %s and %s.", p[0], p[1]))
	}
	for _, s := range c.Slow {
		all = append(all, fmt.Sprintf("What passes between %s and the others is %v late, each way.", s.Datacenter, s.delay()))
	}
	if len(all) == 0 {
		all = []string{"All is well."}
	}
	return all
}

// parts are what of a datacenter can be broken.
var parts = []string{"harbor", "edge"}

func placeNames() (names []string) {
	for _, place := range places {
		names = append(names, place.name)
	}
	return names
}

// of finds a datacenter by its name.
func of(name string) (int, error) {
	if i := slices.Index(placeNames(), name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("there is no datacenter %q: want one of %s", name, strings.Join(placeNames(), ", "))
}

// do is what a command of another terminal asks for, word by word.
func (l *running) do(words []string) error {
	if len(words) == 0 {
		return errors.New("say what is to be done")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.setLinks()
	switch verb, rest := words[0], words[1:]; {
	case verb == "break" && len(rest) == 2:
		return l.breakDown(down{rest[0], rest[1]})
	case verb == "partition" && len(rest) == 2:
		return l.partition(rest[0], rest[1])
	case verb == "slow" && len(rest) == 2:
		return l.slow(rest[0], rest[1])
	case verb == "wipe" && len(rest) == 1:
		return l.harborOf(rest[0], (*lab.Harbor).Wipe)
	case verb == "backup" && len(rest) == 1:
		return l.harborOf(rest[0], func(h *lab.Harbor) (err error) {
			l.backups[rest[0]], err = h.Snapshot()
			return err
		})
	case verb == "restore" && len(rest) == 1:
		return l.harborOf(rest[0], func(h *lab.Harbor) error {
			if l.backups[rest[0]] == nil {
				return fmt.Errorf("there is no backup of the Harbor of %s: make one with lab backup %s", rest[0], rest[0])
			}
			return h.Restore(l.backups[rest[0]])
		})
	case verb == "heal":
		return l.heal(rest)
	}
	return fmt.Errorf("there is no %q", strings.Join(words, " "))
}

// harborOf does something to a datacenter's Harbor.
func (l *running) harborOf(name string, do func(*lab.Harbor) error) error {
	i, err := of(name)
	if err != nil {
		return err
	}
	return do(l.harbors[i])
}

func (l *running) breakDown(d down) error {
	i, err := of(d.Datacenter)
	switch {
	case err != nil:
		return err
	case !slices.Contains(parts, d.What):
		return fmt.Errorf("%q cannot be broken: want harbor or edge", d.What)
	case slices.Contains(l.conditions.Down, d):
		return nil
	case d.What == "harbor":
		err = l.harbors[i].Stop()
	default:
		err = l.breakEdge(i)
	}
	l.conditions.Down = append(l.conditions.Down, d)
	return err
}

func (l *running) partition(a, b string) error {
	p, err := pair(a, b)
	if err == nil && !slices.Contains(l.conditions.Partitions, p) {
		l.conditions.Partitions = append(l.conditions.Partitions, p)
	}
	return err
}

// pair are two datacenters, in an order of their own.
func pair(a, b string) (p [2]string, err error) {
	for _, name := range []string{a, b} {
		if _, err := of(name); err != nil {
			return p, err
		}
	}
	if a == b {
		return p, fmt.Errorf("%s reaches itself in any case: want two datacenters", a)
	}
	return [2]string{min(a, b), max(a, b)}, nil
}

func (l *running) slow(name, late string) error {
	if _, err := of(name); err != nil {
		return err
	}
	delay, err := time.ParseDuration(late)
	if err != nil || delay <= 0 || delay > time.Minute {
		return fmt.Errorf("%q is no delay: want one as 40ms, of a minute at most", late)
	}
	l.quicken(name)
	l.conditions.Slow = append(l.conditions.Slow, slow{name, delay.Seconds()})
	return nil
}

func (l *running) quicken(name string) {
	l.conditions.Slow = slices.DeleteFunc(l.conditions.Slow, func(s slow) bool { return s.Datacenter == name })
}

// heal makes all well, or what it is told: "harbor par1", "edge par1", "par1 mad1" (what
// parts them), "par1" (all of its own).
func (l *running) heal(words []string) error {
	var wanted func(d down) bool
	c := &l.conditions
	switch {
	case len(words) == 0:
		wanted = func(down) bool { return true }
		c.Partitions, c.Slow = [][2]string{}, []slow{}
	case len(words) == 1 || words[0] == "harbor" || words[0] == "edge":
		name := words[len(words)-1]
		if _, err := of(name); err != nil {
			return err
		}
		wanted = func(d down) bool { return d.Datacenter == name && (len(words) == 1 || d.What == words[0]) }
		if len(words) == 1 {
			c.Partitions = slices.DeleteFunc(c.Partitions, func(p [2]string) bool { return p[0] == name || p[1] == name })
			l.quicken(name)
		}
	default:
		between, err := pair(words[0], words[1])
		c.Partitions = slices.DeleteFunc(c.Partitions, func(p [2]string) bool { return p == between })
		return err
	}
	var errs error
	c.Down = slices.DeleteFunc(c.Down, func(d down) bool {
		if !wanted(d) {
			return false
		}
		err := l.bringBack(d)
		errs = errors.Join(errs, err)
		return err == nil
	})
	return errs
}

func (l *running) bringBack(d down) error {
	i, err := of(d.Datacenter)
	if err != nil {
		return err
	}
	if d.What == "harbor" {
		return l.harbors[i].Resume()
	}
	return l.healEdge(i)
}

// setLinks makes the links what the conditions say.
func (l *running) setLinks() {
	for way, relays := range l.links {
		from, to := places[way[0]].name, places[way[1]].name
		between, _ := pair(from, to) // they are two
		link := lab.Link{Silent: slices.Contains(l.conditions.Partitions, between)}
		for _, s := range l.conditions.Slow {
			if s.Datacenter == from || s.Datacenter == to {
				link.Delay += s.delay()
			}
		}
		for _, r := range relays {
			if r.Link() != link {
				r.Set(link)
			}
		}
	}
}
