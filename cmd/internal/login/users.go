package login

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
)

const (
	maxFile      = 1 << 20     // bytes of a file of users
	maxUsers     = 1024        // in it
	maxCost      = 14          // of a hash: about a second
	maxPassword  = 72          // bytes; bcrypt looks at no more
	lookAgain    = time.Second // at the file
	maxRemember  = 256         // passwords that were right
	lengthOfHash = 60
)

// users are those of a htpasswd file. A file that is broken later changes nothing.
type users struct {
	path     string
	now      func() time.Time
	log      *slog.Logger
	key      []byte                         // of what is remembered
	remember *lru.Cache[[32]byte, struct{}] // passwords that were right, as keyed hashes

	mu     sync.Mutex
	hashes map[string]string // by name
	names  []string          // in the file's order
	stamp  stamp
	looked time.Time
}

// stamp tells a file from what it was.
type stamp struct {
	changed time.Time
	size    int64
}

func openUsers(path string, now func() time.Time, log *slog.Logger) (*users, error) {
	remember, err := lru.New[[32]byte, struct{}](maxRemember)
	if err != nil {
		return nil, err
	}
	u := &users{path: path, now: now, log: log, key: make([]byte, 32), remember: remember, looked: now()}
	rand.Read(u.key) //nolint:errcheck // never fails
	return u, u.read()
}

func (u *users) read() error {
	info, err := os.Stat(u.path)
	switch {
	case err != nil:
		return fmt.Errorf("read the users: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return fmt.Errorf("read the users: %s is no file of %d bytes at most", u.path, maxFile)
	}
	text, err := os.ReadFile(u.path)
	if err != nil {
		return fmt.Errorf("read the users: %w", err)
	}
	names, hashes, err := ParseUsers(text)
	if err != nil {
		return fmt.Errorf("read the users: %s:%w", u.path, err)
	}
	u.names, u.hashes, u.stamp = names, hashes, stamp{info.ModTime(), info.Size()}
	return nil
}

// ParseUsers reads a htpasswd file: on each line a name and the bcrypt hash of a password, as
// htpasswd -B writes them. The error begins with the line and names no hash.
func ParseUsers(text []byte) (names []string, hashes map[string]string, err error) {
	hashes = map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		cost, bad := bcrypt.Cost([]byte(hash))
		switch _, twice := hashes[name]; {
		case !ok || name == "":
			return nil, nil, fmt.Errorf("%d: want a name, a colon and a hash", n)
		case twice:
			return nil, nil, fmt.Errorf("%d: %s is there already", n, name)
		case bad != nil || len(hash) != lengthOfHash:
			return nil, nil, fmt.Errorf("%d: what %s has is no bcrypt hash: make one with htpasswd -B -C 12", n, name)
		case cost > maxCost:
			return nil, nil, fmt.Errorf("%d: the hash of %s has the cost %d; %d is the most", n, name, cost, maxCost)
		case len(names) == maxUsers:
			return nil, nil, fmt.Errorf("%d: there are more than %d users", n, maxUsers)
		}
		names, hashes[name] = append(names, name), hash
	}
	switch {
	case lines.Err() != nil:
		return nil, nil, fmt.Errorf("%d: %w", n+1, lines.Err())
	case len(names) == 0:
		return nil, nil, errors.New("1: there is no user in it")
	}
	return names, hashes, nil
}

// of is the hash of a user or, for a name that is none, that of some user: what takes the
// same time. The name decides which, so that asking twice tells nothing.
func (u *users) of(name string) (hash string, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := u.now(); now.Sub(u.looked) >= lookAgain {
		u.looked = now
		if info, err := os.Stat(u.path); err != nil || u.stamp != (stamp{info.ModTime(), info.Size()}) {
			if err := u.read(); err != nil {
				u.log.Warn("users of the console not read again, the last good ones stay", "err", err.Error())
			}
		}
	}
	hash, known = u.hashes[name]
	sum := u.sum(name)
	other := u.hashes[u.names[binary.BigEndian.Uint64(sum[:])%uint64(len(u.names))]]
	if !known {
		hash = other
	}
	return hash, known
}

func (u *users) sum(parts ...string) (sum [32]byte) {
	mac := hmac.New(sha256.New, u.key)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	mac.Sum(sum[:0])
	return sum
}

// proof changes when the user's password does, and is that of nobody for who is no user.
func (u *users) proof(name string) [32]byte {
	hash, known := u.of(name)
	if !known {
		return [32]byte{}
	}
	return u.sum("proof", name, hash)
}

// remembers reports whether a password was right before, and still is.
func (u *users) remembers(name, password string) (proof [32]byte, ok bool) {
	hash, known := u.of(name)
	if !u.remember.Contains(u.sum("right", name, password, hash)) || !known {
		return proof, false
	}
	return u.sum("proof", name, hash), true
}

// check hashes the password, also for who is no user.
func (u *users) check(name, password string) (proof [32]byte, ok bool) {
	hash, known := u.of(name)
	right := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	if !right || !known || len(password) > maxPassword {
		return proof, false
	}
	u.remember.Add(u.sum("right", name, password, hash), struct{}{})
	return u.sum("proof", name, hash), true
}
