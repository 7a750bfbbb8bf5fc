package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// parcel is content that nobody has seen: a head of its own before bytes that all share.
type parcel struct {
	item
	head, rest []byte
}

// newParcels makes one for each client, and says what their digests are.
func newParcels(clients int, bytes []byte) []parcel {
	all := make([]parcel, clients)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			head := make([]byte, 32)
			rand.Read(head) //nolint:errcheck // never fails
			rest := bytes[len(head):]
			sum := sha256.New()
			sum.Write(head)
			sum.Write(rest)
			digest := fmt.Sprintf("sha256:%x", sum.Sum(nil))
			all[i] = parcel{item{path: "/v2/" + pushRepo + "/blobs/" + digest, digest: digest, size: int64(len(bytes))}, head, rest}
		})
	}
	wait.Wait()
	return all
}

// put pushes a parcel, as clients do that push in one piece.
func (l *load) put(ctx context.Context, base string, p parcel) error {
	req, err := l.request(ctx, http.MethodPost, base+"/v2/"+pushRepo+"/blobs/uploads/", nil)
	if err != nil {
		return err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := want(resp, http.StatusAccepted); err != nil {
		return err
	}
	location, err := resp.Location()
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", p.digest)
	location.RawQuery = query.Encode()
	body := io.MultiReader(bytes.NewReader(p.head), bytes.NewReader(p.rest))
	if l.link != nil {
		body = &paced{body, l.link}
	}
	if req, err = l.request(ctx, http.MethodPut, location.String(), body); err != nil {
		return err
	}
	req.ContentLength = p.size
	req.Header.Set("Content-Type", "application/octet-stream")
	if resp, err = l.http.Do(req); err != nil {
		return err
	}
	defer resp.Body.Close()
	return want(resp, http.StatusCreated)
}

// gigabit is a link's speed in bytes a second.
const gigabit = 1e9 / 8

// paced reads no faster than the link sends.
type paced struct {
	io.Reader
	link *pace
}

// Read implements io.Reader.
func (r *paced) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.link.pass(n, gigabit)
	return n, err
}

// push has each client push a blob of its own, again and again until the time is
// over. What is pushed is made while the clock stands, and handed to clean after.
func (l *load) push(ctx context.Context, base string, bytes []byte, clients int, least time.Duration, clean func([]parcel) error) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	waves := 0
	for ; err == nil && (waves == 0 || s.total < least); waves++ {
		parcels := newParcels(clients, bytes)
		failed := make(chan error, clients)
		var wait sync.WaitGroup
		begun := time.Now()
		for _, p := range parcels {
			wait.Go(func() { failed <- l.put(ctx, base, p) })
		}
		wait.Wait()
		s.total += time.Since(begun)
		for range parcels {
			if e := <-failed; e != nil && err == nil {
				err = e
			}
		}
		if e := clean(parcels); err == nil {
			err = e
		}
	}
	s.requests = waves * clients
	s.bytes = int64(s.requests) * int64(len(bytes))
	s.wall = s.total / time.Duration(waves)
	return s, err
}

// tryPush pushes once, and sees that the peer serves it: one that keeps, as the edge
// does, of what it has kept, so that this is part of what is measured.
func (e *environment) tryPush(ctx context.Context, clients *load, base string, keeps bool) error {
	if err := e.origin.forget(); err != nil {
		return err
	}
	parcels := newParcels(1, e.content.pushed)
	if err := clients.put(ctx, base, parcels[0]); err != nil {
		return err
	}
	if err := clients.verify(ctx, base, parcels[0].item); err != nil {
		return err
	}
	asked, err := e.origin.asked(parcels[0].item)
	if err != nil {
		return err
	}
	if asked > 0 && keeps {
		return errors.New("what was pushed is not kept: the origin was asked for it")
	}
	return e.unpush(parcels)
}

// unpush removes what was pushed from below the origin, whose registry has no
// memory of it. (Its own DELETE leaves the bytes.)
func (e *environment) unpush(parcels []parcel) error {
	registry := filepath.Join(e.shared(), "origin", "docker", "registry", "v2")
	for _, p := range parcels {
		hex := strings.TrimPrefix(p.digest, "sha256:")
		if err := os.RemoveAll(filepath.Join(registry, "blobs", "sha256", hex[:2], hex)); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(registry, "repositories", pushProject))
}
