package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/breakwater/internal/keyring"
)

// Grants remembers across restarts what Harbor granted. A key is a keyed hash, which
// shows a reader neither the credential nor the repo.
type Grants interface {
	// Grant remembers that Harbor granted the key at a time.
	Grant(key string, at time.Time)
	// Granted returns when Harbor last granted the key. ok is false where it did not.
	Granted(key string) (at time.Time, ok bool)
	// Revoke forgets the key.
	Revoke(key string)
}

// outage has what the edge needs when no Harbor of the fleet answers: which credentials
// were granted what, and when the outage began.
type outage struct {
	grace   atomic.Int64 // a time.Duration; 0: the edge remembers nothing and gives no tokens
	now     func() time.Time
	keys    *keyring.Ring // of the edges' own tokens, and of the hashes of credentials
	recent  *recent       // when Harbor granted a key
	lasting Grants        // the same across restarts; nil: nothing is

	mu    sync.Mutex
	since time.Time // when the outage began; zero: there is none
}

const (
	// grantFor is how long a grant counts in an outage. Harbor may have taken an older
	// permission back without this edge's seeing it.
	grantFor     = 24 * time.Hour
	grantAgain   = 10 * time.Minute // a grant that is remembered is renewed after this time
	outageRecord = "outage"         // the key under which Grants has the outage's beginning
)

// newOutage returns what is known of an outage that a process before has seen.
func newOutage(cfg Config) (*outage, error) {
	o := &outage{now: cfg.Now, keys: cfg.Keys, lasting: cfg.Grants}
	o.grace.Store(int64(cfg.OutageGrace))
	if o.keys == nil { // no other edge knows this secret, and the next process has another
		var err error
		if o.keys, err = keyring.New(rand.Text()+rand.Text(), ""); err != nil {
			return nil, err
		}
		o.lasting = nil
	}
	if o.lasting != nil {
		o.since, _ = o.lasting.Granted(outageRecord)
	}
	o.recent = newRecent(func(key string) {
		if o.lasting != nil {
			o.lasting.Revoke(key)
		}
	})
	return o, nil
}

// grantsOf returns the keys under which a grant may be remembered, which is of one project:
// the one that is used now, and while the fleet's secret is being replaced the one of before.
// What anybody may read is a whole project: its repos' names are whatever somebody asks for.
func (c *Checker) grantsOf(authorization, repo string) (keys []string) {
	parts := []string{canonical(authorization), repo}
	if repo != Login {
		parts = append(parts, strconv.FormatInt(c.Project(repo), 10))
	}
	if project, _, ok := strings.Cut(repo, "/"); ok && authorization == "" {
		parts[1] = project + "/"
	}
	for _, by := range c.outage.keys.For(keyring.Grants) {
		h := keyedHash(by.Secret, parts...)
		keys = append(keys, hex.EncodeToString(h[:]))
	}
	return keys
}

// client returns what stands for a credential where grants are counted.
func (o *outage) client(authorization string) string {
	h := keyedHash(o.keys.For(keyring.Grants)[0].Secret, "client", canonical(authorization))
	return string(h[:])
}

// canonical returns Basic credentials as every client should write them: one user is not
// many by writing them in many ways.
func canonical(authorization string) string {
	scheme, credential, _ := strings.Cut(authorization, " ")
	if text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credential)); err == nil && strings.EqualFold(scheme, "Basic") {
		return "Basic " + base64.StdEncoding.EncodeToString(text)
	}
	return authorization
}

// granted reports whether Harbor granted one of the keys within grantFor.
func (o *outage) granted(keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		at, ok := o.recent.get(key)
		if !ok && o.lasting != nil {
			at, ok = o.lasting.Granted(key)
		}
		return ok && o.now().Sub(at) < grantFor
	})
}

// revoke forgets a grant, under all of its keys.
func (o *outage) revoke(keys []string) {
	for _, key := range keys {
		o.recent.remove(key)
		if o.lasting != nil {
			o.lasting.Revoke(key)
		}
	}
}

// UseGrace replaces Config.OutageGrace.
func (c *Checker) UseGrace(grace time.Duration) { c.outage.grace.Store(int64(grace)) }

// Login stands in a list of repos for the permission to log in, which needs no repo.
const Login = ""

// Learn remembers what a healthy Harbor granted to a credential ("" for none): it may pull
// from the repos in given, and from no other repo in asked.
func (c *Checker) Learn(authorization string, asked []string, given []string) {
	o := c.outage
	if o.grace.Load() == 0 {
		return
	}
	client := o.client(authorization)
	for _, repo := range asked {
		keys := c.grantsOf(authorization, repo)
		if !slices.Contains(given, repo) {
			if o.granted(keys) {
				o.revoke(keys)
			}
			continue
		}
		if at, ok := o.recent.get(keys[0]); ok && o.now().Sub(at) < grantAgain {
			continue
		}
		if repo != Login { // it may be a user of another project than before
			c.LookNow(context.Background(), repo)
			keys = c.grantsOf(authorization, repo)
		}
		o.recent.add(client, keys[0], o.now())
		if o.lasting != nil {
			o.lasting.Grant(keys[0], o.now())
		}
	}
}

// Remembered returns the repos in asked that a Harbor granted to the credential within
// grantFor, in the project that Harbor had last.
func (c *Checker) Remembered(authorization string, asked []string) (given []string) {
	for _, repo := range asked {
		if c.outage.grace.Load() > 0 && (repo == Login || c.Project(repo) != 0) && c.outage.granted(c.grantsOf(authorization, repo)) {
			given = append(given, repo)
		}
	}
	return given
}

// HarborAnswers notes that a Harbor of the fleet answers: there is no outage.
func (c *Checker) HarborAnswers() {
	o := c.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() && o.lasting != nil {
		o.lasting.Revoke(outageRecord)
	}
	o.since = time.Time{}
}

// InOutage reports whether no Harbor of the fleet answered when one was last needed, be it before
// a restart.
func (c *Checker) InOutage() bool {
	c.outage.mu.Lock()
	defer c.outage.mu.Unlock()
	return !c.outage.since.IsZero()
}

// InGrace notes that no Harbor of the fleet answers. It reports whether the outage has
// lasted less than Config.OutageGrace.
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
	return o.now().Sub(o.since) < time.Duration(o.grace.Load())
}
