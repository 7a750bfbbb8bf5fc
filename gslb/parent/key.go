package parent

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/miekg/dns"
)

// Key is a TSIG key (RFC 8945). Its secret is in no message.
type Key struct {
	Name      string // with the final dot
	Algorithm string // as dns.HmacSHA256
	secret    string // base64
}

var (
	keyComments = regexp.MustCompile(`(?s)/\*.*?\*/|(?m:^|\s)(//|#)[^\n]*`) // // is also within base64
	keyBlock    = regexp.MustCompile(`(?s)^\s*key\s+"?([^"\s{};]+)"?\s*\{([^{}]*)\}\s*;?\s*$`)
	keyField    = regexp.MustCompile(`(algorithm|secret)\s+"?([^"\s;]+)"?\s*;`)
)

// algorithms are those that are good enough.
var algorithms = []string{dns.HmacSHA1, dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512}

// ReadKey reads the file of a key as tsig-keygen writes it. It is for its owner alone.
func ReadKey(file string) (Key, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Key{}, fmt.Errorf("read the TSIG key: %w", err)
	}
	if !info.Mode().IsRegular() { // who opens a pipe waits
		return Key{}, fmt.Errorf("%s is no TSIG key: it is no file; name the file that tsig-keygen wrote", file)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("the TSIG key %s can be read by others (%04o): chmod 600 %s", file, info.Mode().Perm(), file)
	}
	if info.Size() > 1<<16 {
		return Key{}, fmt.Errorf("%s is no TSIG key: it has %d bytes; want what tsig-keygen writes", file, info.Size())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read the TSIG key: %w", err)
	}
	key, err := parseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("%s is no TSIG key: %w; want one as tsig-keygen writes it", file, err)
	}
	return key, nil
}

func parseKey(text string) (key Key, err error) {
	m := keyBlock.FindStringSubmatch(keyComments.ReplaceAllString(text, " "))
	if m == nil {
		return key, errors.New("it is not one block key NAME { … }")
	}
	key.Name = dns.CanonicalName(m[1])
	for _, field := range keyField.FindAllStringSubmatch(m[2], -1) {
		if field[1] == "secret" {
			key.secret = field[2]
		} else {
			key.Algorithm = dns.CanonicalName(field[2])
		}
	}
	raw, err := base64.StdEncoding.DecodeString(key.secret)
	switch {
	case err != nil || len(raw) == 0:
		return Key{}, errors.New("its secret is none, or no base64")
	case !slices.Contains(algorithms, key.Algorithm):
		return Key{}, fmt.Errorf("its algorithm is none of hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384 and hmac-sha512")
	}
	if _, ok := dns.IsDomainName(key.Name); !ok {
		return Key{}, errors.New("its name is no name")
	}
	return key, nil
}
