package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.org/breakwater/cmd/internal/login"
	"example.org/breakwater/registry"
)

// file is a file that the fleet file names.
type file struct {
	field, path string
	read        func(m *machine, data []byte) error // what is wrong with its content
}

// files are those that the parts on this machine read, but for the edge's own certificate
// and what name servers alone read.
func (m *machine) files() (all []file) {
	f := m.Fleet
	add := func(field, path string, needed bool, read func(*machine, []byte) error) {
		if path != "" && needed {
			all = append(all, file{field, path, read})
		}
	}
	add("harbor.ca", f.Harbor.CA, true, readAuthorities)
	add("secrets.vault.ca", f.Secrets.Vault.CA, true, readAuthorities)
	for _, ref := range f.Harbor.TokenCertificates {
		add("harbor.token_certificates", ref.Path, m.needs(Edge), func(_ *machine, data []byte) error {
			_, err := registry.ParsePublicKeys(data)
			return err
		})
	}
	if c := &f.Edge.Console; c.Listen != "" {
		add("edge.console.users", c.Users, m.needs(Edge), readUsers)
		if c.TLS != f.Edge.TLS { // that one has a check of its own
			add("edge.console.tls.certificate", c.TLS.Certificate, m.needs(Edge), readAuthorities)
			add("edge.console.tls.key", c.TLS.Key, m.needs(Edge), func(m *machine, _ []byte) error {
				_, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
				return err
			})
		}
	}
	add("edge.peers.ca", f.Edge.Peers.CA, m.needs(Edge), readAuthorities)
	for _, u := range m.upstreams() {
		add(u.field+".ca", u.CA, m.needs(Edge), readAuthorities)
	}
	if a := f.Projects.Artifactory; a != nil {
		add("projects.artifactory.ca", a.CA, m.needs(Provision), readAuthorities)
	}
	return all
}

// readUsers wants somebody who can log in at the console.
func readUsers(_ *machine, data []byte) error {
	_, _, err := login.ParseUsers(data)
	return err
}

// readAuthorities wants at least one certificate that has not ended.
func readAuthorities(m *machine, data []byte) error {
	certificates, err := parseCertificates(data)
	if err != nil {
		return err
	}
	for _, c := range certificates {
		if m.Now().Before(c.NotAfter) {
			return nil
		}
	}
	return fmt.Errorf("its certificates have ended, the last on %s", certificates[len(certificates)-1].NotAfter.Format("2006-01-02"))
}

func parseCertificates(data []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate in it is damaged: %w", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return all, nil
}

// tryFiles reads them.
func (m *machine) tryFiles(_ context.Context, r *results) {
	files := m.files()
	for _, one := range files {
		data, ok := readFile(r, one.field, one.path)
		if !ok {
			continue
		}
		if err := one.read(m, data); err != nil {
			r.fault("broken", one.field, fmt.Sprintf("%s: %s: %s", one.field, one.path, oneLine(err)), advice(one.field))
		}
	}
	r.say("files that are read: %d", len(files))
}

// advice is what to do about a file with something else in it.
func advice(field string) string {
	if field == "edge.console.users" {
		return "write it with htpasswd -B -C 12"
	}
	return "put the right file there, in PEM"
}

const largestFile = 4 << 20

// readFile reads a small file; what keeps from it is found.
func readFile(r *results, field, path string) (data []byte, ok bool) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > largestFile {
		err = fmt.Errorf("%s has %d bytes, which no such file has", path, info.Size())
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		r.fault("unreadable", field, fmt.Sprintf("%s: %s", field, oneLine(err)), readable(err, path))
	}
	return data, err == nil
}

// readable says what makes a file readable.
func readable(err error, path string) string {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("let user %d read %s, and enter its directories: it is as this user that it was tried", os.Getuid(), path)
	}
	return "put the file there, or write in the fleet file where it is"
}
