package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/fleet"
)

// adminFlags say where the admin listener is, of the edge or of another daemon.
type adminFlags struct {
	config, address string
	what            string                             // whose; "": the edge's
	of              func(*fleet.Fleet) (string, error) // where the fleet file says it; nil: edge.admin
}

func (a *adminFlags) register(cmd *cobra.Command) {
	if a.what == "" {
		a.what, a.of = daemon.Edge, func(f *fleet.Fleet) (string, error) { return f.Edge.Admin, nil }
	}
	cmd.Flags().StringVar(&a.config, "config", "", "the fleet file; - reads standard input")
	cmd.Flags().StringVar(&a.address, "admin", "", "the address of the "+a.what+"'s admin listener, instead of the fleet file's")
	cmd.MarkFlagsOneRequired("config", "admin")
}

// ask sends a request to the admin listener, and returns the body of its answer.
func (a *adminFlags) ask(ctx context.Context, method, path string) ([]byte, error) {
	return a.send(ctx, method, path, nil)
}

// send is ask with a body.
func (a *adminFlags) send(ctx context.Context, method, path string, content io.Reader) ([]byte, error) {
	address := strings.TrimSuffix(strings.TrimPrefix(a.address, "http://"), "/")
	if address == "" {
		f, err := readFleet(os.Stdin, a.config)
		if err != nil {
			return nil, err
		}
		if address, err = a.of(f); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+daemon.OnThisMachine(address)+path, content)
	if err != nil {
		return nil, fmt.Errorf("%q is no address of an admin listener; want one as 127.0.0.1:9091", address)
	}
	status, body, err := askDaemon(a.what, "admin", req)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound && strings.TrimSpace(string(body)) == "404 page not found":
		return nil, fmt.Errorf("the %s that answers on %s knows no such question there; is that its admin listener, and is it of this version?", a.what, req.URL.Host)
	case status != http.StatusOK:
		return nil, fmt.Errorf("the %s says: %s", a.what, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// daemons is the client of the daemons on this machine: no proxy is on the way to
// them, and they send nobody elsewhere.
var daemons = http.Client{
	Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askDaemon sends a request to a daemon of breakwater's, and to nothing else's answer
// it listens. listener is which of the daemon's is meant: admin or metrics.
func askDaemon(what, listener string, req *http.Request) (status int, body []byte, err error) {
	log.SetOutput(io.Discard) // net/http would say there what another program sends unasked
	resp, err := daemons.Do(req)
	var network *net.OpError
	switch of := errors.As(err, &network); {
	case of && network.Op == "dial":
		return 0, nil, fmt.Errorf("no %s answers on %s; is it running on this machine? %w", what, req.URL.Host, network)
	case err != nil && req.Context().Err() != nil:
		return 0, nil, fmt.Errorf("the %s on %s did not answer in time: %w", what, req.URL.Host, err)
	case of:
		return 0, nil, fmt.Errorf("the %s on %s broke off: %w", what, req.URL.Host, network)
	case err != nil:
		return 0, nil, errStranger(what, listener, req)
	}
	defer resp.Body.Close()
	switch is := resp.Header.Get(daemon.Header); is {
	case what:
	case "":
		return 0, nil, errStranger(what, listener, req)
	default:
		return 0, nil, fmt.Errorf("what answers on %s is a breakwater %s, and no %s; see the addresses in the fleet file", req.URL.Host, is, what)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, body, err
}

func errStranger(what, listener string, req *http.Request) error {
	return fmt.Errorf("what answers on %s is no breakwater %s's %s listener; see which program has that address", req.URL.Host, what, listener)
}
