package gslb

// region is what clients in one part of the net have in common: the datacenters
// in groups, nearest first, as indexes into the fleet's list. Those of one group
// are equally near. Every datacenter is in exactly one group.
type region struct {
	says   string // for people: why a client is in it, as "network of par1" or "by its location"
	groups [][]int
}
