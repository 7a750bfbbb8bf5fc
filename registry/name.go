package registry

import (
	"crypto"
	_ "crypto/sha256" // the digests that are accepted
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"
)

const (
	maxRepo = 255
	maxTag  = 128
)

// ValidRepo reports whether s is a repo name as the OCI distribution
// specification has it (section "Pulling manifests"): path components of lower
// case letters and digits, joined inside by one dot, one or two underscores or
// any number of dashes, and at most 255 bytes in all.
func ValidRepo(s string) bool {
	if s == "" || len(s) > maxRepo {
		return false
	}
	for i := 0; i < len(s); {
		n := alnumRun(s[i:])
		if n == 0 {
			return false
		}
		i += n
		if i == len(s) {
			return true
		}
		n = separatorRun(s[i:])
		if n == 0 || i+n == len(s) {
			return false
		}
		i += n
	}
	return false
}

func alnumRun(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// separatorRun returns the length of the separator that s begins with, 0 where
// there is none that the grammar knows.
func separatorRun(s string) int {
	n := 0
	for n < len(s) && s[n] == s[0] {
		n++
	}
	switch {
	case (s[0] == '.' || s[0] == '/') && n == 1:
		return 1
	case s[0] == '_' && n <= 2:
		return n
	case s[0] == '-':
		return n
	}
	return 0
}

// ValidTag reports whether s is a tag as the OCI distribution specification has
// it: at most 128 letters, digits, underscores, dots and dashes, the first of
// them neither a dot nor a dash.
func ValidTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// ParseDigest checks s as a digest that breakwater can verify: sha256 or sha512,
// lower-case hex of the right length. The error is DIGEST_INVALID.
func ParseDigest(s string) (digest.Digest, error) {
	d, err := digest.Parse(s)
	if err != nil || !crypto.Hash.Available(hashOf(d)) {
		return "", Errorf(CodeDigestInvalid, "%q is not a sha256 or sha512 digest", clip(s))
	}
	return d, nil
}

func hashOf(d digest.Digest) crypto.Hash {
	switch d.Algorithm() {
	case digest.SHA256:
		return crypto.SHA256
	case digest.SHA512:
		return crypto.SHA512
	}
	return 0
}

// clip keeps what a client sent short enough to be said back to it.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
