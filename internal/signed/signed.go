// Package signed lets the nodes of a fleet, and those who steer it, ask each other over
// HTTP that anybody may read and change on its way: a question is signed with a key that
// both share, and so is its answer. Nothing is kept secret.
package signed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"example.org/breakwater/internal/keyring"
)

const (
	// Header has the signature, of questions and of answers. A question that is signed with
	// two keys has two of them.
	Header = "Breakwater-Signature"

	maxBody    = 1 << 20         // bytes, of a question and of an answer
	maxClock   = 2 * time.Minute // that two clocks may differ
	maxHeaders = 4               // of signatures that are tried
)

// signature says who asks whom, when, what, and with which key.
type signature struct {
	key      string // its ID
	from, to string
	at       time.Time
	nonce    string
	body     string // the message's, hashed: the signature is verified before any of it is read
	mac      string
}

func (s signature) String() string {
	return url.Values{"key": {s.key}, "from": {s.from}, "to": {s.to}, "at": {strconv.FormatInt(s.at.UnixMilli(), 10)}, "nonce": {s.nonce}, "body": {s.body}, "mac": {s.mac}}.Encode()
}

// hashed is a body as signatures name it.
func hashed(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func parse(text string) (s signature, err error) {
	v, err := url.ParseQuery(text)
	if err != nil || len(text) > 1<<10 {
		return s, errors.New("no signature")
	}
	ms, err := strconv.ParseInt(v.Get("at"), 10, 64)
	return signature{v.Get("key"), v.Get("from"), v.Get("to"), time.UnixMilli(ms), v.Get("nonce"), v.Get("body"), v.Get("mac")}, err
}

// sign returns the signature with its MAC, which covers the other parts and what, the parts of a message.
func (s signature) sign(k keyring.Key, what ...string) signature {
	s.key, s.mac = k.ID, ""
	h := hmac.New(sha256.New, k.Secret)
	for _, part := range append([]string{s.String()}, what...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	s.mac = hex.EncodeToString(h.Sum(nil))
	return s
}

// holds reports whether the signature is that of the key.
func (s signature) holds(k keyring.Key, what ...string) bool {
	return hmac.Equal([]byte(s.sign(k, what...).mac), []byte(s.mac))
}

// questionOf and answerOf are what is signed of a message beside its body.
func questionOf(method string, u *url.URL) []string {
	return []string{"question", method, u.RequestURI()}
}

func answerOf(status int) []string { return []string{"answer", strconv.Itoa(status)} }

// verify finds the signature of a question to this node, of whose body nothing is read. The
// error says what is wrong with it, and what to do.
func verify(ring *keyring.Ring, r *http.Request, self string, now time.Time) (signature, keyring.Key, error) {
	headers := r.Header.Values(Header)
	for _, text := range headers[:min(len(headers), maxHeaders)] {
		s, err := parse(text)
		if err != nil {
			continue
		}
		key, ok := ring.Find(keyring.Operators, s.key)
		if !ok || !s.holds(key, questionOf(r.Method, r.URL)...) {
			continue
		}
		switch away := now.Sub(s.at); {
		case s.to != self:
			return s, key, fmt.Errorf("the question is for %s, and this is %s: compare the addresses in the fleet file", s.to, self)
		case away.Abs() > maxClock:
			return s, key, fmt.Errorf("the clock of %s and that of %s differ by %s: set both by NTP", s.from, self, away.Abs().Round(time.Second))
		}
		return s, key, nil
	}
	if len(headers) == 0 {
		return signature{}, keyring.Key{}, errors.New("the question is not signed")
	}
	return signature{}, keyring.Key{}, errors.New("the question is signed with another key: compare the keys of the two fleet files")
}

// sentence is a text as the rest of a line. Anybody on the way may have written it: there is
// nothing in it that a terminal would obey.
func sentence(body []byte) string {
	words := strings.Fields(string(body[:min(len(body), 500)]))
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(words, " "))
}
