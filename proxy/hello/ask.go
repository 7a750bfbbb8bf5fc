package hello

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"example.org/breakwater/proxy/peer"
)

// answer is what came of one question.
type answer struct {
	status int
	hello  peer.Hello
	older  bool          // a program that knows nothing of this path
	ahead  time.Duration // how far the clock there is ahead
	unsure time.Duration // how wrong that may be: half of the time that the answer took
}

// ask asks a peer. answered is false where there was no answer of an edge at all.
func (n *Neighbors) ask(ctx context.Context, p *neighbor) (v View, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	a, err := n.question(ctx, p)
	v = n.see(p, a, err)
	return v, v.State != Unreachable
}

func (n *Neighbors) question(ctx context.Context, p *neighbor) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Edge.URL().String()+peer.HelloPath, nil)
	if err != nil {
		return a, err
	}
	if p.show != nil {
		if err := p.show(req.Header); err != nil {
			return a, err
		}
	}
	begun := n.cfg.Now()
	resp, err := p.Edge.Single().RoundTrip(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	took := n.cfg.Now().Sub(begun)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHello))
	if err != nil {
		return a, err
	}
	a.status = resp.StatusCode
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusForbidden {
		if json.Unmarshal(body, &a.hello) != nil {
			a.hello = peer.Hello{}
		}
		a.unsure, a.ahead = took/2, a.hello.Time.Sub(begun.Add(took/2))
	}
	a.older = resp.StatusCode == http.StatusNotFound && strings.Contains(string(body), "NAME_UNKNOWN")
	return a, nil
}

// see says what an answer, or an error in place of it, means.
func (n *Neighbors) see(p *neighbor, a answer, err error) View {
	v := View{Datacenter: p.Datacenter}
	if h := a.hello; h.Datacenter != "" {
		v.Answered, v.Version, v.Keys, v.Clock, v.Refused = n.cfg.Now(), clean(h.Version), ids(h.Keys), a.ahead.Seconds(), h.Refused != ""
		v.Sees = known(h.Sees[n.cfg.Datacenter])
	}
	if err != nil {
		v.State, v.Says = n.unanswered(p.Datacenter, err)
	} else {
		v.State, v.Says = n.judge(p.Datacenter, a, v.Sees)
	}
	v.Refused = v.Refused || v.State == Certificate || v.State == Datacenter || v.State == Stranger
	return v
}

// unanswered says why a peer did not answer.
func (n *Neighbors) unanswered(datacenter string, err error) (State, string) {
	if why := badCertificate(err); why != "" {
		return Certificate, fmt.Sprintf("the edge of %s shows a certificate that this edge does not believe: %s; see edge.tls there, and harbor.ca or edge.peers.ca here", datacenter, why)
	}
	return Unreachable, fmt.Sprintf("the edge of %s does not answer: %v; see the network between the two, and datacenters.%[1]s.edge", datacenter, err)
}

// judge says how this edge and one that has answered stand. sees is how that one sees this.
func (n *Neighbors) judge(datacenter string, a answer, sees State) (State, string) {
	it, h, ahead := "the edge of "+datacenter, a.hello, "ahead of"
	if a.ahead < 0 {
		ahead = "behind"
	}
	switch {
	case a.status >= http.StatusInternalServerError || a.status == http.StatusTooManyRequests:
		return Unreachable, fmt.Sprintf("%s answers %d", it, a.status)
	case a.older:
		return Older, fmt.Sprintf("%s runs an older program, which does not say how it sees this edge; upgrade it", it)
	case h.Datacenter == "":
		return Stranger, fmt.Sprintf("what answers at datacenters.%s.edge is no edge (status %d); compare the address in the fleet file", datacenter, a.status)
	case h.Datacenter != datacenter:
		return Datacenter, fmt.Sprintf("datacenters.%s.edge leads to the edge of %s; compare the addresses in the fleet file", datacenter, clean(h.Datacenter))
	case h.Refused == peer.RefusedCertificate:
		return Certificate, fmt.Sprintf("%s does not believe the certificate of this edge: %s; see edge.tls here, and edge.peers.ca there", it, clean(h.Why))
	case h.Refused != peer.RefusedKey && a.ahead.Abs()-a.unsure > maxClock:
		return Clock, fmt.Sprintf("the clock of %s is %s %s this edge's; set both by NTP", it, a.ahead.Abs().Round(time.Second), ahead)
	case h.Refused == peer.RefusedKey:
		return Key, fmt.Sprintf("%s has another edge.peers.key than this edge, and neither takes the other's calls; compare the keys of the two fleet files", it)
	case h.Refused != "":
		return Datacenter, fmt.Sprintf("%s does not take this edge for that of %s: %s; compare the two fleet files", it, n.cfg.Datacenter, clean(h.Why))
	case sees == Certificate || sees == Datacenter || sees == Stranger || sees == Unreachable:
		return OK, fmt.Sprintf("%s answers, and sees this edge so: %s; its own log says why", it, sees)
	}
	return OK, ""
}

// badCertificate is why a server's certificate is not believed; "" where that is not why.
func badCertificate(err error) string {
	var verify *tls.CertificateVerificationError
	if errors.As(err, &verify) {
		return verify.Err.Error()
	}
	for _, target := range []any{new(x509.UnknownAuthorityError), new(x509.HostnameError), new(x509.CertificateInvalidError)} {
		if errors.As(err, target) {
			return err.Error()
		}
	}
	return ""
}

// known is a state that another edge names.
func known(text string) State {
	for _, s := range States {
		if string(s) == text {
			return s
		}
	}
	return ""
}

// ids are the IDs of keys that another edge names: an edge has two at most.
func ids(keys []string) (all []string) {
	for _, key := range keys[:min(len(keys), 2)] {
		all = append(all, clean(key))
	}
	return all
}

// clean is what another says of itself, as a part of a line.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return text[:min(len(text), 300)]
}
