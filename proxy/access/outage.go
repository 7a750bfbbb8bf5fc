package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Grants remembers across restarts what Harbor granted, under keys that say
// nothing to a reader.
type Grants interface {
	Grant(key string, at time.Time)
	Granted(key string) (at time.Time, ok bool)
	Revoke(key string)
}

// outage is what the edge knows for the time when no Harbor of the fleet can
// answer: who was last granted what, and since when nobody has answered.
type outage struct {
	grace   time.Duration // 0: never
	now     func() time.Time
	sign    []byte // signs tokens that edges alone accept
	hide    []byte // keys the hashes of credentials
	recent  *lru.Cache[string, time.Time]
	lasting Grants // nil: a restart forgets

	mu    sync.Mutex
	since time.Time // zero: some Harbor answers
}

const (
	maxGrants = 1 << 16
	// A grant that is older does not count in an outage: who has not been here for
	// so long may have lost the permission unseen.
	grantFor     = 24 * time.Hour
	grantAgain   = 10 * time.Minute // then it is written down anew
	ownTokenFor  = 5 * time.Minute
	ownIssuer    = "breakwater-edge"
	ownLeeway    = 30 * time.Second // of the edges' clocks
	outageRecord = "outage"
)

func newOutage(cfg Config) (*outage, error) {
	o := &outage{grace: cfg.OutageGrace, now: cfg.Now}
	secret := cfg.Secret
	if secret == "" { // nobody else's, and of this life only
		secret = rand.Text()
	} else {
		o.lasting = cfg.Grants
	}
	o.sign, o.hide = derive("tokens", secret), derive("credentials", secret)
	if o.lasting != nil {
		o.since, _ = o.lasting.Granted(outageRecord)
	}
	var err error
	o.recent, err = lru.New[string, time.Time](maxGrants)
	return o, err
}

func derive(purpose, secret string) []byte {
	sum := sha256.Sum256([]byte("breakwater " + purpose + "\x00" + secret))
	return sum[:]
}

// key is what a grant is remembered by.
func (o *outage) key(authorization, repo string) string {
	h := keyedHash(o.hide, authorization, repo)
	return hex.EncodeToString(h[:])
}

func (o *outage) granted(key string) bool {
	at, ok := o.recent.Get(key)
	if !ok && o.lasting != nil {
		at, ok = o.lasting.Granted(key)
	}
	return ok && o.now().Sub(at) < grantFor
}

func (o *outage) revoke(key string) {
	o.recent.Remove(key)
	if o.lasting != nil {
		o.lasting.Revoke(key)
	}
}

// Login is, among repos, the permission to log in without asking for any.
const Login = ""

// Learn takes what a Harbor that is well said to a credential ("" is nobody's):
// of the repos that were asked for it may pull those in given, and no others.
func (c *Checker) Learn(authorization string, asked []string, given []string) {
	o := c.outage
	if o.grace == 0 {
		return
	}
	for _, repo := range asked {
		key := o.key(authorization, repo)
		if !slices.Contains(given, repo) {
			if o.granted(key) {
				o.revoke(key)
			}
			continue
		}
		if at, ok := o.recent.Get(key); ok && o.now().Sub(at) < grantAgain {
			continue
		}
		o.recent.Add(key, o.now())
		if o.lasting != nil {
			o.lasting.Grant(key, o.now())
		}
	}
}

// Remembered returns those of the repos that a Harbor lately granted to the credential.
func (c *Checker) Remembered(authorization string, asked []string) (given []string) {
	for _, repo := range asked {
		if c.outage.grace > 0 && c.outage.granted(c.outage.key(authorization, repo)) {
			given = append(given, repo)
		}
	}
	return given
}

// HarborAnswers notes that some Harbor of the fleet can say who may do what.
func (c *Checker) HarborAnswers() {
	o := c.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() && o.lasting != nil {
		o.lasting.Revoke(outageRecord)
	}
	o.since = time.Time{}
}

// InGrace notes that no Harbor of the fleet answers, and reports whether that is
// so for no longer than the grace.
func (c *Checker) InGrace() bool {
	o := c.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = o.now()
		if o.lasting != nil {
			o.lasting.Grant(outageRecord, o.since)
		}
	}
	return o.now().Sub(o.since) < o.grace
}
