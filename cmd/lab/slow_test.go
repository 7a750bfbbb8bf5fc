package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const slowClients = 5000

// TestSlowClients: 5,000 connections that begin a request and never end it, out of
// another process, keep no good client waiting.
func TestSlowClients(t *testing.T) {
	if edge := os.Getenv("BREAKWATER_SLOW_CLIENTS_OF"); edge != "" {
		beSlow(t, edge)
		return
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	f := startLab(t)
	edge := f.edge(0)
	const path = "/v2/cache-dockerhub/library/hello/manifests/latest"
	token := anonymousToken(t, "http://"+edge, "cache-dockerhub/library/hello")
	pull := func() error { // a client that waits for one of the slow to end waits for longer than a minute
		req, err := http.NewRequest(http.MethodGet, "http://"+edge+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := (&http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s, %v", resp.Status, err)
		}
		return nil
	}
	if err := pull(); err != nil {
		t.Fatal(err)
	}
	slow := exec.Command(os.Args[0], "-test.run", "^TestSlowClients$")
	slow.Env = append(os.Environ(), "BREAKWATER_SLOW_CLIENTS_OF="+edge)
	stdout, err := slow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	defer slow.Wait()         //nolint:errcheck // it is killed
	defer slow.Process.Kill() //nolint:errcheck // it may have ended
	line, err := bufio.NewReader(stdout).ReadString('\n')
	connected, _ := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || connected < slowClients {
		t.Fatalf("%d slow clients, %v", connected, err)
	}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 5 {
				if err := pull(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// beSlow is the process of the slow clients: it says how many have connected, and
// waits for its end.
func beSlow(t *testing.T, edge string) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	var open []net.Conn
	for range slowClients {
		c, err := dialer.Dial("tcp", edge)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: ") //nolint:errcheck // it may have been closed already
		open = append(open, c)
	}
	fmt.Println(len(open))
	<-t.Context().Done()
}
