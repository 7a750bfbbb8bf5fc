package fetch

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/outcome"
)

const maxRefusals = 1 << 12

// Refusals are the versions that Harbor's policy forbade to pull when it was last asked: a slow
// Harbor is no way around it. Safe for concurrent use.
type Refusals struct {
	all *lru.Cache[forbidden, bool]
}

type forbidden struct {
	repo   string
	digest digest.Digest
}

// NewRefusals returns none.
func NewRefusals() *Refusals {
	all, _ := lru.New[forbidden, bool](maxRefusals) // the size is positive: no error
	return &Refusals{all}
}

// Note takes note of what became of a question for a version's digest.
func (r *Refusals) Note(repo string, d digest.Digest, err error) {
	switch of := (forbidden{repo, d}); {
	case d == "":
	case outcome.IsPolicy(err):
		r.all.Add(of, true)
	case err == nil:
		r.all.Remove(of)
	}
}

// Has reports whether the digest was forbidden.
func (r *Refusals) Has(repo string, d digest.Digest) bool { return r.all.Contains(forbidden{repo, d}) }
