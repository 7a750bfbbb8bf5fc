package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"example.org/breakwater/internal/lab"
)

const (
	tourImage = "cache-dockerhub/library/big"
	tourRepo  = "multi-dc-demo/tour"
	tourWait  = 30 * time.Second // for what takes a while: longer than it should
)

// tourSteps are what a fleet is for, in the order of a story.
var tourSteps = []tourStep{
	{"An image of Docker Hub is pulled through the edge of par1, for the first time.", (*tour).pullCold},
	{"Twenty clients of mad1 pull it at once: each layer comes from Docker Hub once.", (*tour).pullTogether},
	{"Docker Hub goes down. Who has it serves it, and drp1, which never had it, gets it from the others.", (*tour).hubDies},
	{"A private image is pushed in par1: all pull it at once, long before the Harbors have replicated it.", (*tour).pushAndPull},
	{"The tag is pushed again in mad1: nobody is shown the old image any more.", (*tour).moveTag},
	{"The Harbor of par1 dies. Logins, pulls and pushes in par1 go on.", (*tour).harborDies},
	{"It comes back: what was pushed meanwhile comes home.", (*tour).harborReturns},
	{"The datacenter par1 dies. DNS sends its clients to mad1.", (*tour).datacenterDies},
	{"mad1 dies too. The backup takes over, with the last push of all.", (*tour).backupTakesOver},
	{"All comes back. Clients go home, and all agree.", (*tour).allReturn},
}

func (t *tour) pullCold(ctx context.Context) error {
	return t.pullAll(ctx, "par1", tourImage, "latest")
}

func (t *tour) pullTogether(ctx context.Context) error {
	before := t.hub.Requests()
	var clients errgroup.Group
	var took time.Duration
	var size int64
	for i := range 20 {
		clients.Go(func() error {
			p, err := t.pullWhole(ctx, "mad1", tourImage, "latest")
			if i == 0 {
				took, size = p.took, p.bytes
			}
			return err
		})
	}
	if err := clients.Wait(); err != nil {
		return err
	}
	most := 0
	for what, n := range t.hub.Requests() {
		if strings.HasPrefix(what, "GET ") && strings.Contains(what, "/blobs/") {
			most = max(most, n-before[what])
		}
	}
	t.see("mad1  20 times %s, %.0f MiB each, %s; Docker Hub was asked for a layer %d times at most", tourImage, float64(size)/(1<<20), ms(took), most)
	if most > 1 {
		return fmt.Errorf("a layer was asked of Docker Hub %d times", most)
	}
	return nil
}

func (t *tour) hubDies(ctx context.Context) error {
	if err := t.hub.SetFaults(lab.Fault{Name: "down"}); err != nil {
		return err
	}
	t.see("Docker Hub refuses connections.")
	return errors.Join(t.pullAll(ctx, "par1", tourImage, "latest"), t.pullAll(ctx, "drp1", tourImage, "latest"))
}

func (t *tour) pushAndPull(ctx context.Context) error {
	t.hub.ClearFaults()
	if err := t.push(ctx, "par1", "the first"); err != nil {
		return err
	}
	return errors.Join(t.shows(ctx, "mad1"), t.shows(ctx, "drp1"))
}

func (t *tour) moveTag(ctx context.Context) error {
	if err := t.push(ctx, "mad1", "the second"); err != nil {
		return err
	}
	return errors.Join(t.shows(ctx, "par1"), t.shows(ctx, "drp1"))
}

func (t *tour) harborDies(ctx context.Context) error {
	if err := t.act("break", "harbor", "par1"); err != nil {
		return err
	}
	return errors.Join(t.shows(ctx, "par1"), t.pullAll(ctx, "par1", tourImage, "latest"), t.push(ctx, "par1", "the third"), t.shows(ctx, "par1"))
}

func (t *tour) harborReturns(ctx context.Context) error {
	if err := t.act("heal", "harbor", "par1"); err != nil {
		return err
	}
	begun := time.Now()
	err := until(ctx, func() error {
		has, err := t.harborHas(ctx, 0)
		if err == nil && has != t.pushed {
			err = fmt.Errorf("the Harbor of par1 has %q, want %s", has, t.pushed)
		}
		return err
	})
	if err == nil {
		t.see("par1  its Harbor has what was pushed while it was away, %s after it is back", ms(time.Since(begun)))
	}
	return err
}

func (t *tour) datacenterDies(ctx context.Context) error {
	if err := errors.Join(t.act("break", "harbor", "par1"), t.act("break", "edge", "par1")); err != nil {
		return err
	}
	return errors.Join(t.sentTo(ctx, "mad1", "mad1"), t.shows(ctx, "mad1"))
}

func (t *tour) backupTakesOver(ctx context.Context) error {
	if err := errors.Join(t.act("break", "harbor", "mad1"), t.act("break", "edge", "mad1")); err != nil {
		return err
	}
	return errors.Join(t.sentTo(ctx, "drp1", "drp1"), t.shows(ctx, "drp1"))
}

func (t *tour) allReturn(ctx context.Context) error {
	if err := t.act("heal"); err != nil {
		return err
	}
	return errors.Join(t.sentTo(ctx, "drp1", "par1"), t.shows(ctx, "par1"), t.shows(ctx, "mad1"), t.shows(ctx, "drp1"))
}

// pulled is a pull as its client saw it.
type pulled struct {
	digest digest.Digest
	from   string // whose manifest it was
	bytes  int64  // of its layers
	took   time.Duration
}

// pullAll pulls an image with its layers in a datacenter, and shows that.
func (t *tour) pullAll(ctx context.Context, datacenter, repo, tag string) error {
	p, err := t.pullWhole(ctx, datacenter, repo, tag)
	if err != nil {
		return fmt.Errorf("pull %s in %s: %w", repo, datacenter, err)
	}
	t.see("%s  pull %s:%s, %.0f MiB, %s, from %s", datacenter, repo, tag, float64(p.bytes)/(1<<20), ms(p.took), p.from)
	return nil
}

// pullWhole pulls an image with its layers, and verifies them.
func (t *tour) pullWhole(ctx context.Context, datacenter, repo, tag string) (p pulled, err error) {
	begun := time.Now()
	s, err := t.clients[datacenter].login(ctx, repo, "pull")
	if err != nil {
		return p, err
	}
	body := func(path string) (http.Header, io.ReadCloser, error) {
		req, err := s.request(ctx, http.MethodGet, "/v2/"+repo+path, nil)
		if err != nil {
			return nil, nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, nil, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, nil, errors.New(resp.Status)
		}
		return resp.Header, resp.Body, nil
	}
	header, r, err := body("/manifests/" + tag)
	if err != nil {
		return p, err
	}
	var manifest struct {
		Layers []struct{ Digest digest.Digest }
	}
	err = json.NewDecoder(io.LimitReader(r, 4<<20)).Decode(&manifest)
	r.Close()
	if err != nil {
		return p, err
	}
	p.digest, p.from = digest.Digest(header.Get("Docker-Content-Digest")), from(header)
	for _, layer := range manifest.Layers {
		_, r, err := body("/blobs/" + layer.Digest.String())
		if err != nil {
			return p, err
		}
		verifier := layer.Digest.Verifier()
		n, err := io.Copy(verifier, r)
		r.Close()
		if p.bytes += n; err == nil && !verifier.Verified() {
			err = fmt.Errorf("%s came as something else", layer.Digest)
		}
		if err != nil {
			return p, err
		}
	}
	p.took = time.Since(begun)
	return p, nil
}

// push pushes an image of next to nothing in a datacenter, another one for each text.
func (t *tour) push(ctx context.Context, datacenter, text string) error {
	begun := time.Now()
	d, by, err := t.clients[datacenter].pushText(ctx, tourRepo, text)
	if err != nil {
		return fmt.Errorf("push in %s: %w", datacenter, err)
	}
	t.pushed = d
	if by != "" {
		by = ", taken by " + by
	}
	t.see("%s  push %s:v1 (%s, %s), %s%s", datacenter, tourRepo, text, short(d), ms(time.Since(begun)), by)
	return nil
}

// shows pulls in a datacenter what was pushed last.
func (t *tour) shows(ctx context.Context, datacenter string) error {
	p, err := t.pullWhole(ctx, datacenter, tourRepo, "v1")
	switch {
	case err != nil:
		return fmt.Errorf("pull in %s: %w", datacenter, err)
	case p.digest != t.pushed:
		return fmt.Errorf("%s shows %s, and pushed was %s", datacenter, short(p.digest), short(t.pushed))
	}
	t.see("%s  pull %s:v1 is %s, %s, from %s", datacenter, tourRepo, short(p.digest), ms(p.took), p.from)
	return nil
}

func short(d digest.Digest) string { return d.Encoded()[:8] }

// harborHas is what a datacenter's Harbor has under the tag that the tour pushes.
func (t *tour) harborHas(ctx context.Context, i int) (digest.Digest, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, t.harbors[i].URL()+"/v2/"+tourRepo+"/manifests/v1", nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(t.harbors[i].Admin())
	header, _, err := send(req, http.StatusOK)
	return digest.Digest(header.Get("Docker-Content-Digest")), err
}

// sentTo waits until the name server of a datacenter sends the clients of par1 to another one.
func (t *tour) sentTo(ctx context.Context, asked, want string) error {
	i, err := of(asked)
	if err != nil || len(t.gslbs) == 0 { // this system has one loopback address
		return err
	}
	begun := time.Now()
	err = until(ctx, func() error {
		got, err := sentBy(ctx, t.report.Datacenters[i].GSLB, netip.MustParsePrefix(places[0].network))
		if err == nil && got != want {
			err = fmt.Errorf("DNS sends the clients of par1 to %s, want %s", got, want)
		}
		return err
	})
	if err == nil {
		t.see("DNS   %s is %s for the clients of par1, after %s", domain, want, ms(time.Since(begun)))
	}
	return err
}

// sentBy is the datacenter that a name server sends the clients of a network to.
func sentBy(ctx context.Context, server string, clients netip.Prefix) (string, error) {
	m := new(dns.Msg).SetQuestion(domain+".", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(clients.Bits()), Address: clients.Addr().AsSlice()}}
	answer, _, err := new(dns.Client).ExchangeContext(ctx, m, server)
	if err != nil {
		return "", err
	}
	for _, rr := range answer.Answer {
		for _, place := range places {
			if a, ok := rr.(*dns.A); ok && a.A.Equal(net.ParseIP(place.host)) {
				return place.name, nil
			}
		}
	}
	return "", fmt.Errorf("%s answers %v", server, answer.Answer)
}

// until asks again until there is no error, for as long as the tour waits.
func until(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, tourWait)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}
