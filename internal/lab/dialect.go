package lab

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Dialect is how a registry says what the distribution specification leaves open, and what
// it says otherwise. docs/upstreams.md has what each is known for, and where that is written.
type Dialect struct {
	Name       string
	Host, Path string   // it is at https://Host, and /v2/ below Path; "": at the root
	Challenge  []string // a header of a 401 each, {scope} filled in; none: nobody is asked for anything
	OpenRoot   bool     // GET /v2/ challenges nobody
	OpenRepos  bool     // what is public needs no token
	TakesBasic bool     // the account's password counts at the registry itself
	Private    bool     // nothing is public
	Token      Tokens
	Missing    Says // a repo that is not there. Status 0: a 401 with the challenge
	Forbidden  Says // one that is not for who asks. Status 0: likewise
	Tags       Pages
	Referrers  Says   // of a registry without the API. Status 0: it has it
	DigestTags bool   // the tag of the fallback scheme is taken for the digest that it is made of
	Storage    string // host that blobs are led to; "": they are sent
	Elsewhere  string // host that all but /v2/ is led to; "": none
	NoHead     int    // status of a HEAD of any manifest; 0: that of its GET
	Limit      Says   // to who asked too much
	Rate       http.Header
}

// Tokens is a registry's token service.
type Tokens struct {
	Host, Path string // where it is; "": there is none
	Field      string // of its JSON that holds the token
	Seconds    int    // that a token lives; 0: it does not say
	Wide       bool   // a token is for all repos, whatever was asked for
	Forbidden  int    // its status where a repo is not there or not for who asks; 0: it gives a token that does not do
}

// Says is an answer in a registry's own words.
type Says struct {
	Status int
	Code   string // of the error in JSON; "": Body
	Body   string
	Header http.Header
}

// Pages is how a registry cuts lists of tags.
type Pages struct {
	Usual   int    // entries of a page where n is not written; 0: all
	Most    int    // that n may be; 0: any
	Clips   bool   // more than Most is taken for Most, else it is refused
	Ignored bool   // n counts for nothing
	Link    string // header of what goes on: {host}, {path}, {repo}, {n} and {last} are filled in
}

// Abroad is a registry outside the fleet that speaks a dialect: content in memory, one account.
// A repo below private/ is for that account alone.
type Abroad struct {
	Dialect
	mu       sync.Mutex
	repos    map[string]*repoAbroad
	user     string
	password string
	tokens   map[string]bool // that are good: whose, and for which repo
	limited  bool
	shown    map[string]bool // the passwords that came, as Basic
}

type repoAbroad struct {
	tags      map[string]digest.Digest
	manifests map[digest.Digest]Held
	blobs     map[digest.Digest][]byte
	referrers map[digest.Digest][]json.RawMessage
}

// Held is a manifest.
type Held struct {
	MediaType string
	Body      []byte
}

// NewAbroad returns an empty registry with one account.
func NewAbroad(d Dialect, user, password string) *Abroad {
	return &Abroad{Dialect: d, repos: map[string]*repoAbroad{}, user: user, password: password, tokens: map[string]bool{}, shown: map[string]bool{}}
}

// Hosts are the names that answer for the registry.
func (a *Abroad) Hosts() []string {
	all := []string{a.Host}
	for _, host := range []string{a.Token.Host, a.Storage, a.Elsewhere} {
		if host != "" && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// Put puts a manifest under a tag, or under none, and blobs beside it.
func (a *Abroad) Put(repo, tag string, m Held, blobs ...[]byte) digest.Digest {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.repos[repo]
	if r == nil {
		r = &repoAbroad{map[string]digest.Digest{}, map[digest.Digest]Held{}, map[digest.Digest][]byte{}, map[digest.Digest][]json.RawMessage{}}
		a.repos[repo] = r
	}
	d := digest.FromBytes(m.Body)
	r.manifests[d] = m
	if tag != "" {
		r.tags[tag] = d
	}
	for _, b := range blobs {
		r.blobs[digest.FromBytes(b)] = b
	}
	return d
}

// Refer has a descriptor stand among those that refer to a manifest: in the API's answer, or
// without the API under the tag of the fallback scheme.
func (a *Abroad) Refer(repo string, to digest.Digest, descriptor string) {
	index := Held{"application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + descriptor + `]}`)}
	if a.Referrers.Status != 0 {
		a.Put(repo, strings.Replace(to.String(), ":", "-", 1), index)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.repos[repo].referrers[to] = []json.RawMessage{json.RawMessage(descriptor)}
}

// Revoke makes the account's password another one, and ends all tokens.
func (a *Abroad) Revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.password += "-another"
	clear(a.tokens)
}

// Reinstate makes the password the one that it was.
func (a *Abroad) Reinstate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.password = strings.TrimSuffix(a.password, "-another")
}

// SetLimited has the registry say of everything that it has been asked too much.
func (a *Abroad) SetLimited(limited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limited = limited
}

// Shown reports whether somebody has come with this password.
func (a *Abroad) Shown(password string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown[password]
}
