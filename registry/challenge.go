package registry

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Challenge is one challenge of a WWW-Authenticate header (RFC 9110, section
// 11.6.1): its scheme as it was written, its parameters by lower-case name.
type Challenge struct {
	Scheme string
	Params map[string]string
}

// maxChallenges bounds what is believed of one answer.
const maxChallenges = 16

// ParseChallenges reads every challenge of the header's values. It is lenient
// as HTTP clients are: what it cannot read ends that value, and an empty value
// (Harbor sends one where a project is missing or its database is down) is none.
func ParseChallenges(values []string) []Challenge {
	var all []Challenge
	for _, v := range values {
		p := challengeParser{rest: v}
		for len(all) < maxChallenges {
			c, ok := p.challenge()
			if !ok {
				break
			}
			all = append(all, c)
		}
	}
	return all
}

// Rewrite returns the values of a WWW-Authenticate header with each challenge as change makes
// it. A value in which change changes nothing (false) stays as it was written.
func Rewrite(values []string, change func(*Challenge) bool) (all []string) {
	for _, v := range values {
		var written []string
		changed := false
		for _, c := range ParseChallenges([]string{v}) {
			changed = change(&c) || changed
			written = append(written, c.String())
		}
		if changed {
			v = strings.Join(written, ", ")
		}
		all = append(all, v)
	}
	return all
}

// OfHarbor reports whether it is the challenge of a Harbor to somebody without credentials: it
// names Harbor's token service.
func (c Challenge) OfHarbor() bool {
	return strings.EqualFold(c.Scheme, schemeBearer) && (c.Params["service"] == HarborService || c.Params["service"] == "" && strings.HasSuffix(c.Params["realm"], TokenPath))
}

// Realm is where a challenge says that its token service is, in full; false: it names none.
func (c Challenge) Realm() (*url.URL, bool) {
	u, err := url.Parse(c.Params["realm"])
	return u, err == nil && u.Host != "" && strings.EqualFold(c.Scheme, schemeBearer)
}

// String writes the challenge as it stands in the header, realm, service and
// scope first, as Harbor does.
func (c Challenge) String() string {
	var b strings.Builder
	b.WriteString(c.Scheme)
	sep := " "
	write := func(name string) {
		b.WriteString(sep + name + `="` + quoteEscaper.Replace(c.Params[name]) + `"`)
		sep = ","
	}
	first := []string{"realm", "service", "scope"}
	for _, name := range first {
		if _, ok := c.Params[name]; ok {
			write(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		if !slices.Contains(first, name) {
			write(name)
		}
	}
	return b.String()
}

var quoteEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

type challengeParser struct{ rest string }

func (p *challengeParser) challenge() (Challenge, bool) {
	p.skip(" \t,")
	scheme := p.token()
	if scheme == "" {
		return Challenge{}, false
	}
	c := Challenge{Scheme: scheme, Params: map[string]string{}}
	if after, ok := cutToken68(p.rest); ok {
		if p.rest = after; !goesOn(after) {
			return c, true
		}
	}
	for {
		before := p.rest
		p.skip(" \t,")
		name := p.token()
		p.skip(" \t")
		if name != "" && goesOn(p.rest) {
			continue // a parameter without a value
		}
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			p.rest = before // the next challenge's scheme, or the end
			return c, true
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value, ok := p.value()
		if !ok {
			p.rest = ""
			return c, true
		}
		c.Params[strings.ToLower(name)] = value
	}
}

// goesOn reports whether a comma and another parameter of the same challenge follow: what stands
// before them is no scheme.
func goesOn(s string) bool {
	if !strings.HasPrefix(s, ",") {
		return false
	}
	p := challengeParser{rest: s}
	p.skip(" \t,")
	name := p.token()
	p.skip(" \t")
	return name != "" && strings.HasPrefix(p.rest, "=")
}

// cutToken68 cuts off what a scheme says in place of parameters (RFC 9110, section 11.2), as
// Negotiate does.
func cutToken68(s string) (rest string, ok bool) {
	said := strings.TrimLeft(s, " \t")
	rest = strings.TrimLeftFunc(said, func(r rune) bool {
		return r == '/' || r <= '~' && tokenChar(byte(r)) && strings.IndexByte("!#$%&'*^`|", byte(r)) < 0
	})
	if said == s || rest == said {
		return s, false
	}
	rest = strings.TrimLeft(strings.TrimLeft(rest, "="), " \t")
	return rest, rest == "" || rest[0] == ','
}

func (p *challengeParser) skip(chars string) { p.rest = strings.TrimLeft(p.rest, chars) }

func (p *challengeParser) token() string {
	n := 0
	for n < len(p.rest) && tokenChar(p.rest[n]) {
		n++
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

func tokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func (p *challengeParser) value() (string, bool) {
	if inside, after, ok := strings.Cut(strings.TrimPrefix(p.rest, "'"), "'"); ok && p.rest[0] == '\'' && (after == "" || strings.IndexByte(" \t,", after[0]) >= 0) {
		p.rest = after // no quotes of the specification's, and meant as such
		return inside, true
	}
	if !strings.HasPrefix(p.rest, `"`) {
		n := strings.IndexAny(p.rest, " \t,") // an address without quotes is no token, and is meant as it stands
		if n < 0 {
			n = len(p.rest)
		}
		t := p.rest[:n]
		p.rest = p.rest[n:]
		return t, true
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case '\\':
			i++
			if i == len(p.rest) {
				return "", false
			}
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
