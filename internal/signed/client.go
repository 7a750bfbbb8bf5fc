package signed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.org/breakwater/internal/keyring"
)

// Client asks nodes.
type Client struct {
	Ring *keyring.Ring
	From string       // who asks: a datacenter, or a person at a machine
	HTTP *http.Client // nil: http.DefaultClient
	Now  func() time.Time
}

// Refused is the answer of a node that does not do what it is asked.
type Refused struct {
	Status int
	Says   string
	Signed bool // false: anybody may have said so
}

func (e *Refused) Error() string { return e.Says }

// Ask sends a question to the node called to, at an address with its path, and returns the
// body of its answer. The error is a *Refused where the node itself says no.
func (c *Client) Ask(ctx context.Context, to, method, address string, body []byte) ([]byte, error) {
	keys := c.Ring.For(keyring.Operators)
	if len(keys) == 0 {
		return nil, errors.New("there is no key to ask with")
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	s := signature{from: c.From, to: to, at: c.now(), nonce: rand.Text(), body: hashed(body)}
	for _, key := range keys {
		req.Header.Add(Header, s.sign(key, questionOf(method, req.URL)...).String())
	}
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	signed := false
	for _, key := range keys {
		got, err := parse(resp.Header.Get(Header))
		if err == nil && got.nonce == s.nonce && got.from == to && got.to == c.From && got.body == hashed(answer) && got.holds(key, answerOf(resp.StatusCode)...) {
			signed = true
		}
	}
	switch {
	case signed && resp.StatusCode == http.StatusOK:
		return answer, nil
	case signed, resp.Header.Get(RefusalHeader) != "":
		return nil, &Refused{resp.StatusCode, sentence(answer), signed}
	}
	return nil, fmt.Errorf("what answers there is not %s of this fleet, or has another key (status %d)", to, resp.StatusCode)
}

func (c *Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
