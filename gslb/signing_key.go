package gslb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/miekg/dns"
)

const (
	csk         = dns.ZONE | dns.SEP // flags of a key that signs keys and zone alike (RFC 6781, section 3.1)
	largestKey  = 64 << 10           // bytes of a file with one
	pemKey      = "PRIVATE KEY"      // PKCS #8
	pemPlainKey = "EC PRIVATE KEY"   // SEC 1, as older tools write it
)

// SigningKey is a key that zones are signed with, keys and all: ECDSA on P-256 with SHA-256,
// algorithm 13 (RFC 6605). It is the same for all zones and on all name servers of a fleet.
type SigningKey struct {
	private *ecdsa.PrivateKey
	public  string // as DNSKEY has it
}

// NewSigningKey makes a key of random numbers.
func NewSigningKey() (*SigningKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return signingKey(private)
}

func signingKey(private *ecdsa.PrivateKey) (*SigningKey, error) {
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return &SigningKey{private, base64.StdEncoding.EncodeToString(point[1:])}, nil // without the byte that says: both coordinates (RFC 6605, section 4)
}

// ReadSigningKey reads a key as WriteNew or `openssl genpkey -algorithm EC -pkeyopt
// ec_paramgen_curve:P-256` writes it: PEM, PKCS #8. The error is a sentence that goes on
// after the name of what names the file, and holds nothing of the key. A file that
// others than its owner and group can read or write is refused.
func ReadSigningKey(file string) (*SigningKey, error) {
	data, err := readPrivate(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, unreadable{file + ": no such file: make it with `breakwater gslb keygen` on one name server, and copy it to the others", err}
	case errors.Is(err, fs.ErrPermission):
		return nil, unreadable{file + ": this account may not read the file: let it", err}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, err := parseSigningKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// unreadable is why a file cannot be read here; what it unwraps to tells the reasons apart.
type unreadable struct {
	text string
	error
}

func (u unreadable) Error() string { return u.text }

func (u unreadable) Unwrap() error { return u.error }

// readPrivate reads a small file that nobody else can.
func readPrivate(name string) ([]byte, error) {
	info, err := os.Stat(name) // before it is opened: who opens a pipe waits
	var of *fs.PathError
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no file: name the file of the key")
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("everybody on this machine can read or change it (%v): `chmod 600` it, and make a new key if others may have it", info.Mode().Perm())
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestKey+1))
	switch {
	case errors.As(err, &of):
		return nil, of.Err
	case len(data) > largestKey:
		return nil, fmt.Errorf("it is larger than %d bytes, which no key is: name the file of the key", largestKey)
	}
	return data, err
}

func parseSigningKey(data []byte) (*SigningKey, error) {
	const want = "want what `breakwater gslb keygen` writes: one key of ECDSA on P-256, as PKCS #8 in PEM"
	var found any
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case pemKey:
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case pemPlainKey:
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // parameters of the curve
			continue
		}
		switch {
		case err != nil:
			return nil, errors.New("its key is damaged; " + want)
		case found != nil:
			return nil, errors.New("there are several keys in it; the one of before goes into a file of its own (gslb.dnssec.previous_key)")
		}
		found = key
	}
	private, ok := found.(*ecdsa.PrivateKey)
	switch {
	case found == nil:
		return nil, errors.New("there is no private key in it; " + want)
	case !ok || private.Curve != elliptic.P256():
		return nil, errors.New("its key is of another kind; " + want)
	}
	return signingKey(private)
}

// WriteNew writes the key into a file of its own that its owner alone can read. One that is
// there already stays as it is, and is an error (fs.ErrExist).
func (k *SigningKey) WriteNew(file string) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file)) // half a key is none
	}
	return nil
}

// Equal reports whether both are the same key.
func (k *SigningKey) Equal(other *SigningKey) bool { return k.public == other.public }

// DNSKEY is the record of the key in a zone.
func (k *SigningKey) DNSKEY(zone string) *dns.DNSKEY {
	return &dns.DNSKEY{Hdr: header(dns.CanonicalName(zone), dns.TypeDNSKEY, fixedTTL), Flags: csk, Protocol: 3, Algorithm: dns.ECDSAP256SHA256, PublicKey: k.public}
}

// DS is the record for the zone that its parent has to have, by SHA-256 (RFC 4509).
func (k *SigningKey) DS(zone string) *dns.DS { return k.DNSKEY(zone).ToDS(dns.SHA256) }
