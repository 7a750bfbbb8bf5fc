package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	bufferSize = 256 << 10
	mostClient = 64
)

// load is the clients. All peers are asked by the same ones, with connections that
// are kept, and what they send is thrown away unhashed.
type load struct {
	http    *http.Client
	token   func() string // that the next request shows, "" for none
	link    *pace         // what is pushed goes through, at a gigabit a second; nil: as fast as it goes
	buffers [mostClient][]byte
}

// newLoad makes clients that speak HTTP/1.1, or HTTP/2 over TLS.
func newLoad(pool *x509.CertPool, second bool) *load {
	l := &load{http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: mostClient, DisableCompression: true, ReadBufferSize: 64 << 10, ForceAttemptHTTP2: second,
	}}}
	for i := range l.buffers {
		l.buffers[i] = make([]byte, bufferSize)
	}
	return l
}

// login gets a token for all that is pulled and pushed, as a client does: each
// time another one.
func (l *load) login(ctx context.Context, base string) (token string, err error) {
	const scopes = "&scope=repository:" + repo + ":pull&scope=repository:" + pushRepo + ":pull,push"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/service/token?service=harbor-registry"+scopes, nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("robot$"+pushProject+"+"+clientName, robotSecret)
	resp, err := l.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("get a token: %w", err)
	}
	defer resp.Body.Close()
	var body struct{ Token string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body); err != nil || body.Token == "" {
		return "", fmt.Errorf("get a token of %s: status %d, no token in it", base, resp.StatusCode)
	}
	return body.Token, nil
}

// mint gets tokens, each of which has to be verified.
func (e *environment) mint(ctx context.Context, clients *load) error {
	e.say("get %d tokens", e.plan.Tokens)
	e.tokens = make([]string, e.plan.Tokens)
	var group errgroup.Group
	group.SetLimit(mostClient)
	for i := range e.tokens {
		group.Go(func() (err error) {
			e.tokens[i], err = clients.login(ctx, e.origin.URL)
			return err
		})
	}
	return group.Wait()
}

// nextToken is one that the peer was never shown, or all others since.
func (p *peer) nextToken() string {
	return p.env.tokens[int(p.shown.Add(1))%len(p.env.tokens)]
}

// request makes one with the clients' token.
func (l *load) request(ctx context.Context, method, url string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if token := l.token(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// want makes an error of an answer with another status.
func want(resp *http.Response, status int) error {
	if resp.StatusCode == status {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	return fmt.Errorf("%s %s: %s: %s", resp.Request.Method, resp.Request.URL, resp.Status, text)
}

// get pulls an item. arrived counts its bytes while they come; first is the time
// to the first of them. Whatever is not the whole item is an error.
func (l *load) get(ctx context.Context, base string, i item, buffer []byte, arrived *atomic.Int64, sum hash.Hash) (first time.Duration, err error) {
	req, err := l.request(ctx, http.MethodGet, base+i.path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	status := http.StatusOK
	if i.part != "" {
		req.Header.Set("Range", i.part)
		status = http.StatusPartialContent
	}
	begun := time.Now()
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := want(resp, status); err != nil {
		return 0, err
	}
	var size int64
	for {
		n, err := resp.Body.Read(buffer)
		if n > 0 && size == 0 {
			first = time.Since(begun)
		}
		size += int64(n)
		arrived.Add(int64(n))
		if sum != nil {
			sum.Write(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return first, fmt.Errorf("GET %s%s: after %d bytes: %w", base, i.path, size, err)
		}
	}
	if size != i.size {
		return first, fmt.Errorf("GET %s%s: %d bytes came, not %d", base, i.path, size, i.size)
	}
	return first, nil
}

// verify pulls an item and checks its digest.
func (l *load) verify(ctx context.Context, base string, i item) error {
	sum := sha256.New()
	if _, err := l.get(ctx, base, i, l.buffers[0], new(atomic.Int64), sum); err != nil {
		return err
	}
	if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != i.digest {
		return fmt.Errorf("GET %s%s: the bytes are %s, not %s", base, i.path, got, i.digest)
	}
	return nil
}

// suite is what the server chose to encrypt with.
func (l *load) suite(ctx context.Context, base string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/", nil)
	if err != nil {
		return "", err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return tls.VersionName(resp.TLS.Version) + ", " + tls.CipherSuiteName(resp.TLS.CipherSuite), nil
}

// sample is what one round of a work gave.
type sample struct {
	wall     time.Duration // of one pull by all clients; of a work with a time: all of it
	total    time.Duration
	bytes    int64 // to all clients, in total
	requests int
	latency  []time.Duration // blobs: to the first byte; manifests: to the last
	cpu      time.Duration
	peak     int64
	asked    int   // blob GETs at the origin
	cut      bool  // given up: bytes is what had come by then
	carried  int64 // bytes that came back over the link, where there is one
}

// wave has all clients pull the item at once, again and again until the time is
// over (0: once). It gives up after patience.
func (l *load) wave(ctx context.Context, base string, i item, clients int, least, patience time.Duration) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var arrived atomic.Int64
	var mu sync.Mutex
	waves := 0
	begun := time.Now()
	for waves == 0 || time.Since(begun) < least {
		var wait sync.WaitGroup
		for c := range clients {
			wait.Go(func() {
				first, failed := l.get(ctx, base, i, l.buffers[c], &arrived, nil)
				mu.Lock()
				defer mu.Unlock()
				if first > 0 {
					s.latency = append(s.latency, first)
				}
				if failed != nil && err == nil {
					err = failed
				}
			})
		}
		wait.Wait()
		waves++
		if err != nil {
			break
		}
	}
	s.total, s.bytes, s.requests = time.Since(begun), arrived.Load(), waves*clients
	s.wall = s.total / time.Duration(waves)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.cut, err = true, nil
	}
	return s, err
}

// storm has all clients pull the item, each again as soon as it has it, for a time.
func (l *load) storm(ctx context.Context, base string, i item, clients int, span time.Duration) (s sample, err error) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var arrived atomic.Int64
	begun := time.Now()
	for c := range clients {
		wait.Go(func() {
			var took []time.Duration
			var failed error
			for failed == nil && time.Since(begun) < span {
				sent := time.Now()
				_, failed = l.get(ctx, base, i, l.buffers[c], &arrived, nil)
				took = append(took, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			s.latency = append(s.latency, took...)
			if failed != nil && err == nil {
				err = failed
			}
		})
	}
	wait.Wait()
	s.total, s.bytes, s.requests = time.Since(begun), arrived.Load(), len(s.latency)
	s.wall = s.total
	return s, err
}
