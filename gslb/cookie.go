package gslb

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"
)

// The server's part of a cookie (RFC 9018, section 4): a version, three reserved
// bytes, the time in seconds, and a hash of all that comes before it and the
// client's address.
const (
	clientCookie = 8
	serverCookie = 16
	cookieHash   = 8

	cookieLife   = time.Hour        // for how long one is valid
	cookieFresh  = 30 * time.Minute // after this, a new one is given
	cookieAhead  = 5 * time.Minute  // how far in the future another server's clock may be
	secretRotate = 24 * time.Hour   // of the secrets that nobody configured
)

// secret is a key of SipHash-2-4.
type secret [16]byte

// cookies makes and checks the server's part of DNS cookies, in the format in
// which servers of any make that have the same secret agree. Nothing is kept for
// a client.
type cookies struct {
	now     func() time.Time
	secrets atomic.Pointer[[]secret] // the first makes cookies, all are accepted
	random  secret                   // what secrets come from while none are configured
}

// newCookies has secrets of its own until set is called.
func newCookies(now func() time.Time) *cookies {
	c := &cookies{now: now}
	rand.Read(c.random[:]) // never fails
	return c
}

// set replaces the secrets. A cookie comes back to the server that gave it, which takes
// those of the secret of before as long as it is there (RFC 9018, section 5). None: the
// server has its own, changed every day.
func (c *cookies) set(secrets []secret) { c.secrets.Store(&secrets) }

func (c *cookies) current() []secret {
	if s := c.secrets.Load(); s != nil && len(*s) > 0 {
		return *s
	}
	day := uint64(c.now().Unix()) / uint64(secretRotate/time.Second)
	return []secret{c.derive(day), c.derive(day - 1)}
}

func (c *cookies) derive(day uint64) (s secret) {
	k0, k1 := c.random.halves()
	var of [8]byte
	binary.LittleEndian.PutUint64(of[:], day)
	low, high := siphash.Hash128(k0, k1, of[:])
	binary.LittleEndian.PutUint64(s[:], low)
	binary.LittleEndian.PutUint64(s[8:], high)
	return s
}

func (s *secret) halves() (uint64, uint64) {
	return binary.LittleEndian.Uint64(s[:]), binary.LittleEndian.Uint64(s[8:])
}

// reply is the cookie to answer one with, and whether the one that came proves
// that the client receives what is sent to its address.
func (c *cookies) reply(cookie []byte, from netip.Addr) (reply []byte, valid bool) {
	secrets := c.current()
	for i, s := range secrets {
		if age, ok := c.check(cookie, from, s); ok {
			if i == 0 && age < cookieFresh {
				return cookie, true
			}
			valid = true
			break
		}
	}
	reply = make([]byte, clientCookie+serverCookie)
	copy(reply, cookie[:clientCookie])
	reply[clientCookie] = 1
	binary.BigEndian.PutUint32(reply[clientCookie+4:], uint32(c.now().Unix()))
	return appendHash(reply[:len(reply)-cookieHash], from, secrets[0]), valid
}

// check says how old a cookie is that s made.
func (c *cookies) check(cookie []byte, from netip.Addr, s secret) (age time.Duration, ok bool) {
	if len(cookie) != clientCookie+serverCookie || cookie[clientCookie] != 1 {
		return 0, false
	}
	made := binary.BigEndian.Uint32(cookie[clientCookie+4:])
	// Seconds are compared as serial numbers, so that they may wrap (RFC 1982).
	age = time.Duration(int32(uint32(c.now().Unix())-made)) * time.Second
	if age > cookieLife || age < -cookieAhead {
		return 0, false
	}
	signed := len(cookie) - cookieHash
	return age, bytes.Equal(cookie, appendHash(cookie[:signed:signed], from, s))
}

// appendHash appends the hash to what is hashed. A client can tell nothing from
// how long a comparison takes that it could not guess as well.
func appendHash(cookie []byte, from netip.Addr, s secret) []byte {
	k0, k1 := s.halves()
	var of [clientCookie + serverCookie - cookieHash + 16]byte
	n := copy(of[:], cookie)
	n += copy(of[n:], from.AsSlice())
	return binary.LittleEndian.AppendUint64(cookie, siphash.Hash(k0, k1, of[:n]))
}
