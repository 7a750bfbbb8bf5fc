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
	daily   atomic.Pointer[daily]    // those of today
}

// daily are the secrets that come from random on one day.
type daily struct {
	day     uint64
	secrets []secret
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

func (c *cookies) current(now int64) []secret {
	if s := c.secrets.Load(); s != nil && len(*s) > 0 {
		return *s
	}
	day := uint64(now) / uint64(secretRotate/time.Second)
	today := c.daily.Load()
	if today == nil || today.day != day {
		today = &daily{day, []secret{c.derive(day), c.derive(day - 1)}}
		c.daily.Store(today)
	}
	return today.secrets
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

// reply is the cookie to answer one with, in buf if it is large enough, and whether the one that came proves
// that the client receives what is sent to its address.
func (c *cookies) reply(buf, cookie []byte, from netip.Addr) (reply []byte, valid bool) {
	now := c.now().Unix()
	secrets := c.current(now)
	for i, s := range secrets {
		if age, ok := check(cookie, from, s, now); ok {
			if i == 0 && age < cookieFresh {
				return cookie, true
			}
			valid = true
			break
		}
	}
	reply = append(append(buf[:0], cookie[:clientCookie]...), 1, 0, 0, 0)
	reply = binary.BigEndian.AppendUint32(reply, uint32(now))
	return appendHash(reply, from, secrets[0]), valid
}

// check says how old a cookie is that s made; now is in Unix seconds.
func check(cookie []byte, from netip.Addr, s secret, now int64) (age time.Duration, ok bool) {
	if len(cookie) != clientCookie+serverCookie || cookie[clientCookie] != 1 {
		return 0, false
	}
	made := binary.BigEndian.Uint32(cookie[clientCookie+4:])
	// Seconds are compared as serial numbers, so that they may wrap (RFC 1982).
	age = time.Duration(int32(uint32(now)-made)) * time.Second
	if age > cookieLife || age < -cookieAhead {
		return 0, false
	}
	signed := len(cookie) - cookieHash
	var want [clientCookie + serverCookie]byte
	return age, bytes.Equal(cookie, appendHash(append(want[:0], cookie[:signed]...), from, s))
}

// appendHash appends the hash to what is hashed. A client can tell nothing from
// how long a comparison takes that it could not guess as well.
func appendHash(cookie []byte, from netip.Addr, s secret) []byte {
	k0, k1 := s.halves()
	var of [clientCookie + serverCookie - cookieHash + 16]byte
	n := copy(of[:], cookie)
	if from.Is4() {
		four := from.As4()
		n += copy(of[n:], four[:])
	} else {
		six := from.As16()
		n += copy(of[n:], six[:])
	}
	return binary.LittleEndian.AppendUint64(cookie, siphash.Hash(k0, k1, of[:n]))
}
