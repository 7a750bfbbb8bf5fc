// Package peer is how the edges of a fleet know each other: by a shared key, by
// certificates, or by both.
package peer

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"example.org/breakwater/registry"
)

// Path is where an edge answers its peers: below it lies the distribution API, of
// its own store and Harbor alone.
const Path = "/breakwater/v1/peer"

// What else an edge asks of a peer.
const (
	TokenPath = Path + "/token" // GET: a token of that datacenter's Harbor
	PurgePath = Path + "/purge" // POST: remove content from that edge's store
	HelloPath = Path + "/hello" // GET: whether it knows the asking edge, and how it sees the others (Hello)
	// AnnouncePath, POST: what was pushed and deleted at the asking edge (announce.Batch).
	AnnouncePath = Path + "/announce"
	// WarmPath, POST: have content in the store before it is asked for (warm.Ask); GET: how that
	// is getting on (warm.Status).
	WarmPath = Path + "/warm"
	// ContentPath, GET: what that edge knows of repos and tags (content.Local).
	ContentPath = Path + "/content"
)

// The headers between edges.
const (
	// PreviousHeader is beside Authorization while the fleet's secret is being replaced: the
	// same by the key of before, for edges that have that one alone.
	PreviousHeader = "Breakwater-Previous-Authorization"
	AskedHeader    = "Breakwater-Asked"                // the datacenters that were asked already
	ClientHeader   = "Breakwater-Client-Authorization" // the credentials of the client for whom an edge asks
	PushHeader     = "Breakwater-Push"                 // a HEAD comes from a client that may push
	// RecordHeader, of answers: the newest version of the reference; of writes: what is known
	// of it where the write comes from (version.Record.Mark).
	RecordHeader = "Breakwater-Record"
	// DeletedHeader, of answers, to clients too: since when the upstream of a cache is known to
	// have deleted what is served (RFC 3339).
	DeletedHeader = "Breakwater-Deleted-Upstream"
)

// Peer is another datacenter's edge.
type Peer struct {
	Datacenter string
	Edge       *registry.Source // its address with Path as prefix; no credentials: the key is shown
}

// Trust decides which requests are another edge's. Its zero value trusts nobody.
type Trust struct {
	Key   *Key           // nil: certificates alone
	Roots *x509.CertPool // the authorities of the certificates that edges show each other; nil: the key alone
	Peers []Peer
	Now   func() time.Time
}

// Datacenter returns whose edge made the request. ok is false where neither its
// token nor its certificate says that it is an edge's.
func (t Trust) Datacenter(r *http.Request) (datacenter string, ok bool) {
	datacenter, refusal := t.Judge(r)
	return datacenter, refusal == nil
}

// Judge is Datacenter, and says why where it is nobody's.
func (t Trust) Judge(r *http.Request) (datacenter string, refusal *Refusal) {
	datacenter, refusal = t.Key.Verify(r.Header)
	if refusal == nil || t.Roots == nil {
		return datacenter, refusal
	}
	datacenter, byCertificate := t.byCertificate(r.TLS)
	if byCertificate == nil {
		return datacenter, nil
	}
	if t.Key == nil || r.Header.Get("Authorization") == "" { // a certificate is what it meant to be known by
		refusal = byCertificate
	}
	return "", refusal
}

// byCertificate returns whose edge showed a client certificate: one of the fleet's
// authorities signed it, it is made for clients too, and it is for the host of a
// peer's address.
func (t Trust) byCertificate(state *tls.ConnectionState) (datacenter string, refusal *Refusal) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return "", &Refusal{RefusedCertificate, "no certificate is shown"}
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: t.Roots, Intermediates: between, CurrentTime: t.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", &Refusal{RefusedCertificate, err.Error()}
	}
	for _, peer := range t.Peers {
		if leaf.VerifyHostname(peer.Edge.URL().Hostname()) == nil {
			return peer.Datacenter, nil
		}
	}
	return "", &Refusal{RefusedCertificate, "it is for the host of no other edge in the fleet file"}
}
