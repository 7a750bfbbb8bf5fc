package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Cookies with this prefix are this host's alone, over TLS, for all of its paths (RFC 6265bis,
// 4.1.3.2).
const (
	sessionCookie = "__Host-breakwater-session"
	begunCookie   = "__Host-breakwater-login"
)

const (
	longest     = 8 * time.Hour // of a session
	maxSessions = 1024          // at once; the oldest gives way
	maxOfUser   = 64            // at once; the user's oldest gives way
)

type session struct {
	user       string
	byPassword bool
	proof      [32]byte // of what let the user in
	until      time.Time
}

// sessions are kept in memory, by the hash of what is in the cookie: a restart ends them.
type sessions struct {
	now func() time.Time

	mu  sync.Mutex
	all map[[32]byte]session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[[32]byte]session{}}
}

// begin returns the id of a new session.
func (s *sessions) begin(of session) (id string) {
	id, of.until = random(), s.now().Add(longest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(maxOfUser, func(one session) bool { return one.user == of.user && one.byPassword == of.byPassword })
	s.makeRoom(maxSessions, func(session) bool { return true })
	s.all[sha256.Sum256([]byte(id))] = of
	return id
}

// makeRoom makes room for one more of which there are so many at most: it drops sessions that
// have ended and, where these are too few, the oldest. s.mu is held.
func (s *sessions) makeRoom(most int, of func(session) bool) {
	var oldest [32]byte
	var first time.Time
	n, now := 0, s.now()
	for key, one := range s.all {
		switch {
		case !of(one):
			continue
		case !now.Before(one.until):
			delete(s.all, key)
			continue
		case first.IsZero() || one.until.Before(first):
			oldest, first = key, one.until
		}
		n++
	}
	if n >= most {
		delete(s.all, oldest)
	}
}

func (s *sessions) get(id string) (session, bool) {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[key]
	if ok && !s.now().Before(one.until) {
		delete(s.all, key)
		return session{}, false
	}
	return one, ok
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(id)))
}

func setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(age.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func dropCookie(w http.ResponseWriter, name string) { setCookie(w, name, "", -time.Second) }

// begun is a login that is at the provider. The browser keeps it: strangers who begin logins
// take no memory here.
type begun struct {
	State, Nonce, Verifier string
	Redirect               string // where the provider was told to lead back to
	To                     string // the page that was wanted
	Until                  time.Time
}

// sealer makes texts that nobody else can read or make, as long as the process lives
// (AES-256-GCM with a key of its own).
type sealer struct{ aead cipher.AEAD }

func newSealer() *sealer {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has that length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size
	}
	return &sealer{aead}
}

func (s *sealer) seal(b begun) string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings and a time
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(begunCookie)))
}

func (s *sealer) open(text string) (b begun, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(sealed) < s.aead.Overhead() {
		return b, errors.New("it is none of ours")
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(begunCookie))
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(plain, &b)
}
