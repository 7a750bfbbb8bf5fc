package daemon

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ForOperators answers on an admin listener at that address (host:port), which asks nobody who
// they are. A web page that an operator looks at is not to speak there: what it sends as another
// site is refused with 403 (Fetch Metadata, RFC 6454), and with 421 what is asked for by a DNS name
// with a dot that is not the address's own, since anybody's may lead here (DNS rebinding). An IP
// address, localhost and names of machines and containers are as good as the address.
func ForOperators(address string, h http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(address) //nolint:errcheck // "" is no host's name
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ofOperators(r.Host, own) {
			http.Error(w, "this listener is for operators, and known by its address alone: ask for that, not for a name", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

func ofOperators(asked, own string) bool {
	host := asked
	if name, _, err := net.SplitHostPort(asked); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	_, err := netip.ParseAddr(host)
	return err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || host == strings.ToLower(own)
}
