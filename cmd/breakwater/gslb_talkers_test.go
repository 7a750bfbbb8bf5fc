package main

import (
	"testing"

	"github.com/miekg/dns"
)

// Who asks most is what status ends with.
func TestStatusSaysWhoAsksMost(t *testing.T) {
	s := newNameServers(t, "  query_log: { one_in: 1 }")
	s.start(0)
	s.settled(0)
	for range 50 {
		s.sent(0, name, dns.TypeA, "10.2.7.0")
	}
	s.says(0, 0, []string{"status"}, "Who asks most, of about ", "NETWORK", "10.2.7.0/24  50 (", "RATE LIMIT", "10.2.7.0/24", "mad1", "nearest", "NOERROR", "50 (")
	s.says(0, 0, []string{"status", "--json"}, `"talkers":{`, `"answers":[{"network":"10.2.7.0/24","queries":50,"datacenter":"mad1","tier":"nearest","rcode":"NOERROR"}`)
}
