package gslb

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// region is what clients in one part of the net have in common: the datacenters
// in groups, nearest first, as indexes into the fleet's list. Those of one group
// are equally near. Every datacenter is in exactly one group.
type region struct {
	says    string // for people: how it is known that a client is in it
	nowhere bool   // no client's address is in it: what is said to come from there is not believed
	groups  [][]int
}

const (
	maxRegions = int(none)
	sameCity   = 50.0 // km: datacenters no farther from each other are equally near
	earth      = 6371.0

	// How geography knows; explain tells more then.
	saysCoordinates = "by its coordinates"
	saysCountry     = "by its country or continent"
)

// Kilometres is the great-circle distance (haversine).
func (l Location) Kilometres(to Location) float64 {
	rad := func(degrees float64) float64 { return degrees * math.Pi / 180 }
	sinLat := math.Sin(rad(to.Latitude-l.Latitude) / 2)
	sinLon := math.Sin(rad(to.Longitude-l.Longitude) / 2)
	h := sinLat*sinLat + math.Cos(rad(l.Latitude))*math.Cos(rad(to.Latitude))*sinLon*sinLon
	return 2 * earth * math.Asin(math.Sqrt(min(1, h)))
}

// regions are collected while the tables are built: the same ones are one.
type regions struct {
	datacenters []Datacenter
	all         []region
	known       map[string]uint16
}

// intern returns the region's number.
func (r *regions) intern(one region) (uint16, error) {
	id := fmt.Sprint(one)
	if n, ok := r.known[id]; ok {
		return n, nil
	}
	if len(r.all) == maxRegions {
		return none, fmt.Errorf("clients are told apart in more than %d ways; give fewer orders of datacenters", maxRegions)
	}
	n := uint16(len(r.all))
	r.all, r.known[id] = append(r.all, one), n
	return n, nil
}

// after completes groups with the datacenters that are in none of them, by distance.
func (r *regions) after(groups [][]int, from *Location) [][]int {
	var rest []int
	for dc := range r.datacenters {
		if !slices.ContainsFunc(groups, func(g []int) bool { return slices.Contains(g, dc) }) {
			rest = append(rest, dc)
		}
	}
	return append(slices.Clip(groups), r.byDistance(rest, from)...)
}

// byDistance groups datacenters by their distance. Those whose own is not known
// are equally far; without a place to measure from all are.
func (r *regions) byDistance(members []int, from *Location) (groups [][]int) {
	var placed, lost []int
	for _, dc := range members {
		if from != nil && r.datacenters[dc].Location != nil {
			placed = append(placed, dc)
		} else {
			lost = append(lost, dc)
		}
	}
	at := func(dc int) Location { return *r.datacenters[dc].Location }
	far := make([]float64, len(r.datacenters))
	for _, dc := range placed {
		far[dc] = from.Kilometres(at(dc))
	}
	slices.SortStableFunc(placed, func(a, b int) int {
		return cmp.Or(cmp.Compare(far[a], far[b]), strings.Compare(r.datacenters[a].Name, r.datacenters[b].Name))
	})
	for _, dc := range placed {
		if n := len(groups); n > 0 && at(groups[n-1][0]).Kilometres(at(dc)) <= sameCity {
			groups[n-1] = append(groups[n-1], dc)
			continue
		}
		groups = append(groups, []int{dc})
	}
	if len(lost) > 0 {
		groups = append(groups, lost)
	}
	return groups
}

// byCountry groups datacenters by whether they are in the country, on the continent,
// or elsewhere; nil where that says nothing.
func (r *regions) byCountry(country, continent string) (groups [][]int) {
	var ranks [3][]int
	for dc := range r.datacenters {
		l, rank := r.datacenters[dc].Location, 2
		switch {
		case l == nil:
		case country != "" && strings.EqualFold(l.Country, country):
			rank = 0
		case continent != "" && strings.EqualFold(l.Continent, continent):
			rank = 1
		}
		ranks[rank] = append(ranks[rank], dc)
	}
	for _, group := range ranks {
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	if len(groups) < 2 && len(ranks[2]) > 0 {
		return nil
	}
	return groups
}
