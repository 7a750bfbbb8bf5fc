// Package observability is what Prometheus computes of a fleet, for programs that run one.
package observability

import _ "embed" // the rules

// Rules are rules.yaml, as Prometheus reads them.
//
//go:embed rules.yaml
var Rules []byte
