package main

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/keyring"
	"example.org/breakwater/internal/signed"
	"example.org/breakwater/internal/trial"
)

// startNameServers starts three. Fields are further ones of the gslb section.
func startNameServers(t *testing.T, fields string) *nameServers {
	t.Helper()
	s := newNameServers(t, fields)
	for i := range places {
		s.start(i)
	}
	for i := range places {
		s.settled(i)
	}
	return s
}

// says wants a command's status, and parts of what it says in their order.
func (s *nameServers) says(i, status int, args []string, parts ...string) (text string) {
	s.t.Helper()
	text, got := s.cli(i, args...)
	rest := text
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			s.t.Errorf("%s says no %q (after what is before it)\n%s", strings.Join(args, " "), part, text)
			break
		}
		rest = after
	}
	if got != status {
		s.t.Errorf("%s: status %d, want %d\n%s", strings.Join(args, " "), got, status, text)
	}
	return text
}

// sent is where a name server sends a client, "" for nowhere.
func (s *nameServers) sent(i int, name string, qtype uint16, network string) string {
	s.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.ParseIP(network).To4()}}
	var answer *dns.Msg
	trial.Until(s.t, func() (err error) {
		answer, _, err = (&dns.Client{Timeout: 5 * time.Second}).Exchange(m, net.JoinHostPort(s.addresses[i], s.ports["listen"]))
		return err
	})
	if len(answer.Answer) == 0 {
		return ""
	}
	if a, ok := answer.Answer[0].(*dns.A); ok {
		return places[a.A.To4()[3]-1]
	}
	return "par1" // it alone has another address
}

// rewrite changes a name server's fleet file.
func (s *nameServers) rewrite(i int, old, replacement string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config[i])
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.config[i], bytes.ReplaceAll(text, []byte(old), []byte(replacement)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// listenBetween has a drain asked of a name server, and returns how it was signed. Nobody
// has got the question.
func (s *nameServers) listenBetween(i int) (header string) {
	s.t.Helper()
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get(signed.Header)
		http.Error(w, "away", http.StatusBadGateway)
	}))
	defer between.Close()
	if _, err := s.client().Ask(s.t.Context(), places[i], http.MethodPost, between.URL+"/override", []byte(`{"datacenter":"par1","mode":"down"}`)); err == nil || header == "" {
		s.t.Fatalf("%q, %v", header, err)
	}
	return header
}

func (s *nameServers) client() *signed.Client {
	ring, err := keyring.New(keyOfNameServers, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return &signed.Client{Ring: ring, From: "ann@desk"}
}

// signedGet is the status of a question that is signed as it should be.
func (s *nameServers) signedGet(i int, path string) int {
	s.t.Helper()
	_, err := s.client().Ask(s.t.Context(), places[i], http.MethodGet, "http://"+net.JoinHostPort(s.addresses[i], s.ports["peers"])+path, nil)
	var refused *signed.Refused
	if !errors.As(err, &refused) {
		s.t.Fatalf("%s: %v", path, err)
	}
	return refused.Status
}
