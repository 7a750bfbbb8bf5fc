package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"example.org/breakwater/registry"
)

// URL is the address of an HTTP server: scheme and host, and a port where it is not the
// scheme's own. What comes behind the host is the business of who asks there.
type URL string

// Endpoint is a registry's address. Some live below a path, as Artifactory's
// repositories do; what Harbor adds to it (/v2/) is no part of it.
type Endpoint string

// Issuer is an OpenID provider's address as the provider itself writes it, a slash at its end
// included: Harbor compares the two.
type Issuer string

// Probed is what a name server asks to see whether a datacenter serves:
// https://host/path, http://host/path, tcp://host:port or file:/path.
type Probed string

func (u *URL) parse(text string) error {
	p, err := parseURL(text)
	switch {
	case err != nil:
		return err
	case strings.Trim(p.Path, "/") != "":
		return fmt.Errorf("only scheme and host stand here, no path; write %s", root(p))
	}
	*u = URL(strings.TrimRight(text, "/"))
	return nil
}

// nameOf is a URL's host, without its port.
func nameOf(address URL) string {
	u, err := url.Parse(string(address))
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Host is the endpoint's host, with its port if it has one.
func (e Endpoint) Host() string { return hostOf(string(e)) }

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// path is what stands behind the host.
func (e Endpoint) path() string {
	u, err := url.Parse(string(e))
	if err != nil {
		return ""
	}
	return strings.Trim(u.Path, "/")
}

func (e *Endpoint) parse(text string) error {
	p, err := parseURL(text)
	if err != nil {
		return err
	}
	if short, api := strings.CutSuffix(strings.TrimRight(p.Path, "/"), "/v2"); api {
		return fmt.Errorf("/v2/ is added by those who ask there; write %s%s", root(p), strings.TrimRight(short, "/"))
	}
	*e = Endpoint(strings.TrimRight(text, "/"))
	return nil
}

// discovery is where a provider describes itself, below its address.
const discovery = "/.well-known/openid-configuration"

func (i *Issuer) parse(text string) error {
	p, err := parseURL(text)
	if err != nil {
		return err
	}
	if short, ok := strings.CutSuffix(strings.TrimRight(p.Path, "/"), discovery); ok {
		return fmt.Errorf("%s is added by Harbor; write %s%s", discovery, root(p), short)
	}
	*i = Issuer(text)
	return nil
}

// Destination is where redirects of an upstream may lead inside: a host, *.domain, an
// address or a network.
type Destination string

func (x *Destination) parse(text string) error {
	_, err := registry.ParseDestination(text)
	*x = Destination(text)
	return err
}

// everywhere reports whether every address is meant.
func (x Destination) everywhere() bool { return strings.HasSuffix(string(x), "/0") }

func (p *Probed) parse(text string) error {
	u, err := url.Parse(text)
	ok := err == nil && u.User == nil && u.Fragment == ""
	switch {
	case !ok:
	case u.Scheme == "file":
		ok = strings.HasPrefix(u.Path, "/") && u.Host == ""
	case u.Scheme == "tcp":
		ok = u.Port() != "" && u.Path == "" && u.RawQuery == "" && checkHost(u) == nil
	default:
		ok = (u.Scheme == "http" || u.Scheme == "https") && checkHost(u) == nil
	}
	if !ok { // it is not repeated: it may hold a password
		return errors.New("this is nothing to probe; write https://host/path, tcp://host:port or file:/path")
	}
	*p = Probed(text)
	return nil
}

var errNoURL = errors.New("want https://host or http://host[:port]")

var errVariable = errors.New("nothing is filled in here for $ and braces; write the address itself, as https://harbor.example.org")

var schemes = regexp.MustCompile(`^https?://`)

// bareHost is a host without a scheme, and what may stand behind it.
var bareHost = regexp.MustCompile(`^([A-Za-z0-9.-]+\.[A-Za-z0-9-]+(?::\d{1,5})?)(?:/.*)?$`)

// parseURL takes the address of an HTTP server. Its errors repeat nothing of what may be a
// password: neither user information nor a query.
func parseURL(text string) (*url.URL, error) {
	if m := bareHost.FindStringSubmatch(text); m != nil {
		return nil, fmt.Errorf("the scheme is missing; write https://%s", m[1])
	}
	if ip, err := netip.ParseAddr(schemes.ReplaceAllString(text, "")); err == nil && ip.Is6() {
		return nil, fmt.Errorf("an IPv6 address stands in brackets; write https://[%s]", ip)
	}
	p, err := url.Parse(text)
	switch {
	case strings.ContainsAny(text, "${}"):
		return nil, errVariable
	case err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https":
		return nil, errNoURL
	case p.User != nil:
		return nil, fmt.Errorf("an address holds no user or password: this file holds no secrets; write %s", root(p))
	case p.RawQuery != "" || p.ForceQuery:
		return nil, fmt.Errorf("an address has no query (?…); write %s", root(p))
	case p.Fragment != "" || strings.Contains(text, "#"):
		return nil, fmt.Errorf("an address has no fragment (#…); write %s", root(p))
	}
	return p, checkHost(p)
}

func root(u *url.URL) string { return u.Scheme + "://" + u.Host }

var urlHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// checkHost reports a host that no certificate and no resolver knows, and a port that is none.
func checkHost(u *url.URL) error {
	host := u.Hostname()
	_, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return errNoURL
	case strings.HasSuffix(host, "."):
		return errors.New("a host is written without the dot at its end")
	case err != nil && !urlHost.MatchString(host):
		return errors.New("there is a character in the host that host names do not have; names of other alphabets are written as xn--…")
	case strings.HasSuffix(u.Host, ":"):
		return errors.New("the port is missing behind the colon; write it, or leave the colon out")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%s is no port: they are 1 to 65535", port)
		}
	}
	return nil
}

// place is where a URL leads, however it is written: two of one place are one server.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	return registry.Place(u)
}
