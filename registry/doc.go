// Package registry is the wire that every part of breakwater shares: the names
// and digests of the OCI distribution specification, a request parsed once into
// a value, the specification's errors written and read in one place, challenges,
// Harbor's tokens, and a client for one source.
package registry
