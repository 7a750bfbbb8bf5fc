package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"example.org/breakwater/internal/trial"
)

// Who asks most is what status ends with; the log and dnstap have it where they are on.
func TestStatusSaysWhoAsksMost(t *testing.T) {
	tap := filepath.Join(t.TempDir(), "dns.fstrm")
	s := newNameServers(t, fmt.Sprintf("  query_log: { one_in: 1 }\n  dnstap: { to: %q }", "file:"+tap))
	s.start(0)
	s.settled(0)
	for range 50 {
		s.sent(0, name, dns.TypeA, "10.2.7.0")
	}
	s.says(0, 0, []string{"status"}, "Who asks most, of about ", "NETWORK", "10.2.7.0/24  50 (", "RATE LIMIT", "10.2.7.0/24", "mad1", "nearest", "NOERROR", "50 (")
	s.says(0, 0, []string{"status", "--json"}, `"talkers":{`, `"answers":[{"network":"10.2.7.0/24","queries":50,"datacenter":"mad1","tier":"nearest","rcode":"NOERROR"}`)
	trial.Until(t, func() error {
		if !strings.Contains(s.logs[0].String(), `"msg":"query","client":"10.2.7.0/24","client_subnet":true,"name":"harbor.example.org.","type":"A","datacenter":"mad1","tier":"nearest","rcode":"NOERROR"`) {
			return errors.New("the query is not in the log")
		}
		if told, err := os.ReadFile(tap); err != nil || !strings.Contains(string(told), "protobuf:dnstap.Dnstap") || !strings.Contains(string(told), "\x06harbor\x07example\x03org") {
			return fmt.Errorf("dnstap does not have it: %d bytes, %v", len(told), err)
		}
		return nil
	})
}
