package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.org/breakwater/registry"
)

// Peer is another datacenter's edge.
type Peer struct {
	Datacenter string
	Edge       *registry.Source // its address with PeerPath; no credentials: the peer key is shown
}

// PeerPath is where an edge answers its peers: below it lies the distribution
// API, of its own store and Harbor alone.
const PeerPath = "/breakwater/v1/peer"

const (
	peerPurgePath = PeerPath + "/purge"

	askedHeader  = "Breakwater-Asked" // the datacenters that have been asked already
	peerTokenFor = time.Minute
	peerRenew    = 20 * time.Second // before it ends
	peerLeeway   = 30 * time.Second // of clocks
	peerIssuer   = "breakwater-edge"
)

// peerKey signs and verifies what edges say to each other: short tokens (JWT,
// HS256) that name who asks and who is asked. The key itself never leaves.
type peerKey struct {
	key        []byte
	datacenter string
	now        func() time.Time
}

func newPeerKey(secret, datacenter string, now func() time.Time) *peerKey {
	if secret == "" {
		return nil
	}
	sum := sha256.Sum256([]byte("breakwater peers\x00" + secret))
	return &peerKey{sum[:], datacenter, now}
}

type peerClaims struct {
	jwt.RegisteredClaims
}

// sign makes a token for one peer.
func (k *peerKey) sign(peer string) (string, error) {
	now := k.now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, peerClaims{jwt.RegisteredClaims{
		Issuer: peerIssuer, Subject: k.datacenter, Audience: jwt.ClaimStrings{peer},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(peerTokenFor)),
	}}).SignedString(k.key)
}

// verify returns the datacenter of the edge that asks.
func (k *peerKey) verify(authorization string) (datacenter string, ok bool) {
	scheme, raw, _ := strings.Cut(authorization, " ")
	if k == nil || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	var claims peerClaims
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(peerIssuer), jwt.WithAudience(k.datacenter),
		jwt.WithExpirationRequired(), jwt.WithLeeway(peerLeeway), jwt.WithTimeFunc(k.now)).
		ParseWithClaims(strings.TrimSpace(raw), &claims, func(*jwt.Token) (any, error) { return k.key, nil })
	return claims.Subject, err == nil && claims.Subject != "" && claims.Subject != k.datacenter
}

// tokens returns what gives the token for a peer, made anew before it ends.
func (k *peerKey) tokens(peer string) func() (string, error) {
	var mu sync.Mutex
	var token string
	var until time.Time
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := k.now(); !now.Before(until) {
			var err error
			if token, err = k.sign(peer); err != nil {
				return "", err
			}
			until = now.Add(peerTokenFor - peerRenew)
		}
		return token, nil
	}
}

// peerByCertificate returns whose edge showed a client certificate: it is of one of
// the fleet's authorities, made for clients too, and for the host of a peer's address.
func (h *Handler) peerByCertificate(state *tls.ConnectionState) (datacenter string, ok bool) {
	if h.cfg.PeerRoots == nil || state == nil || len(state.PeerCertificates) == 0 {
		return "", false
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: h.cfg.PeerRoots, Intermediates: between, CurrentTime: h.cfg.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", false
	}
	for _, peer := range h.cfg.Peers {
		if leaf.VerifyHostname(peer.Edge.URL().Hostname()) == nil {
			return peer.Datacenter, true
		}
	}
	return "", false
}

// fromPeer checks that the request is another edge's.
func (h *Handler) fromPeer(x *exchange) error {
	x.kind, x.outcome = "peer", "own"
	peer, ok := h.peerKey.verify(x.r.Header.Get("Authorization"))
	if !ok {
		peer, ok = h.peerByCertificate(x.r.TLS)
	}
	if !ok {
		return registry.Errorf(registry.CodeDenied, "this is for the fleet's own edges")
	}
	x.peer = peer
	x.r.Header.Del("Authorization") // it is not a client's, and goes no further
	return nil
}

// purgeForPeer removes content from this edge's store, because an operator of
// another edge purges the fleet.
func (h *Handler) purgeForPeer(x *exchange) error {
	if err := h.fromPeer(x); err != nil {
		return err
	}
	if x.r.Method != http.MethodPost {
		return registry.Errorf(registry.CodeUnsupported, "a purge is a POST")
	}
	d, err := registry.ParseDigest(x.r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	answer, err := h.purge(d, x.peer)
	if err != nil {
		return err
	}
	return writeJSON(x, "application/json", answer)
}

// servePeer answers another edge from this one's store and Harbor. The peer has
// checked its client's permission to read; writes carry the client's own
// credentials, by which Harbor decides. Nobody else is asked in turn.
func (h *Handler) servePeer(x *exchange) (err error) {
	if err := h.fromPeer(x); err != nil {
		return err
	}
	url := *x.r.URL
	url.Path, url.RawPath = strings.TrimPrefix(url.Path, PeerPath), ""
	if x.req, err = registry.ParseRequest(x.r.Method, &url); err != nil {
		return err
	}
	x.ns = resolve(h.namespaces, x.req.Project())
	x.w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	switch {
	case x.req.Kind == registry.KindBase:
		x.w.WriteHeader(http.StatusOK)
		return nil
	case x.ns.Kind == KindPlain || x.req.Repo == "":
		return registry.Errorf(registry.CodeUnsupported, "peers have to do with managed projects only")
	case !x.req.Read() && x.ns.Kind == KindMultiDC:
		if client := x.r.Header.Get(clientHeader); client != "" { // Harbor decides by it
			x.r.Header.Set("Authorization", client)
		}
		return h.write(x)
	case !x.req.Read():
		return registry.Errorf(registry.CodeUnsupported, "peers may write multi-dc- projects only")
	}
	x.pushing = x.r.Method == http.MethodHead && x.req.Kind == registry.KindBlob && x.r.Header.Get(pushHeader) != ""
	return h.read(x)
}
