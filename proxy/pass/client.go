package pass

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// ClientURL is the scheme and host under which the client reached the edge. An edge
// without TLS believes what terminates it before the edge; a client that says so
// itself misleads nobody but itself. Of several before it the first one has been reached
// by the client: who comes later speaks of the one before.
func ClientURL(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	said := forwarded(r.Header)
	host := r.Host
	for _, named := range []string{said["host"], first(r.Header, "X-Forwarded-Host")} {
		if named != "" && hosts.MatchString(named) {
			host = named
			break
		}
	}
	scheme := "http"
	if strings.EqualFold(said["proto"], "https") || strings.EqualFold(first(r.Header, "X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + host + lostPort(host, first(r.Header, "X-Forwarded-Port"))
}

// hosts are what may stand in a URL as its host, and a port.
var hosts = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// lostPort is what a proxy has taken from the host that the client named: a port that is no
// scheme's own. Clients name it, and leave out the others.
func lostPort(host, port string) string {
	if port == "" {
		return ""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || n == 80 || n == 443 {
		return ""
	}
	if named := hosts.FindStringSubmatch(host); named == nil || named[2] != "" {
		return ""
	}
	return ":" + strconv.FormatUint(n, 10)
}

// first is the first element of a header's list. name is as http.CanonicalHeaderKey has it.
func first(header http.Header, name string) string {
	if len(header[name]) == 0 { // most requests have none
		return ""
	}
	for element := range strings.SplitSeq(strings.Join(header.Values(name), ","), ",") {
		if element = strings.Trim(element, " \t\""); element != "" {
			return element
		}
	}
	return ""
}

// pair is a parameter of Forwarded, up to what comes behind it: a semicolon, a comma, or the end.
var pair = regexp.MustCompile(`^[ \t;]*([^=;,"]+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"]*))[ \t]*`)

var escaped = regexp.MustCompile(`\\(.)`)

// forwarded are the parameters of the first element of Forwarded (RFC 7239), by lower-case name.
func forwarded(header http.Header) map[string]string {
	if len(header["Forwarded"]) == 0 {
		return nil
	}
	all := map[string]string{}
	rest := strings.TrimLeft(strings.Join(header.Values("Forwarded"), ","), " \t,")
	for m := pair.FindStringSubmatch(rest); m != nil; m = pair.FindStringSubmatch(rest) {
		all[strings.ToLower(strings.TrimSpace(m[1]))] = escaped.ReplaceAllString(m[2], "$1") + strings.TrimSpace(m[3])
		rest = rest[len(m[0]):]
	}
	return all
}
