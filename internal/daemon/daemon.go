// Package daemon is what the long-running commands share: listeners whose
// faults read as sentences, the metrics and admin end points, certificates that
// are read again when they change, and a stop that finishes what is in flight.
package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Server is one HTTP listener of a daemon.
type Server struct {
	Name     string // in logs: public, metrics, admin
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	Public   bool        // anybody may connect: connections are bounded
}

// Daemon runs servers until its context ends.
type Daemon struct {
	Log     *slog.Logger
	Drain   func()        // called when the end begins, before listeners close; nil: nothing
	Leave   time.Duration // how long the listeners stay open after Drain, so that probes see it; 0: not at all
	Longest time.Duration // how long requests in flight may go on after that; 0: 30 s
}

const (
	headerDeadline = 10 * time.Second // a slow client is not to hold a connection before it has asked
	idleDeadline   = 2 * time.Minute
	maxHeader      = 64 << 10
	maxConns       = 16 << 10
	maxPerClient   = 4 << 10 // what terminates TLS, or an address translation, is one client for many
	longestDrain   = 30 * time.Second
)

// Listen opens a TCP listener for what; its error says what to do.
func Listen(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	for fault, advice := range map[syscall.Errno]string{
		syscall.EADDRINUSE:    "another program has this port: stop it or choose another",
		syscall.EACCES:        "ports below 1024 need root or CAP_NET_BIND_SERVICE",
		syscall.EADDRNOTAVAIL: "this machine does not have that address",
	} {
		if errors.Is(err, fault) {
			return nil, fmt.Errorf("listen for the %s on %s: %w; %s", what, address, fault, advice)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the %s: %w", what, err)
	}
	return l, nil
}

// OnThisMachine is where who is on the same machine asks a listener of that address: one of
// all addresses at loopback.
func OnThisMachine(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// Run serves until ctx ends, then drains and returns nil; or until a server
// fails, and returns why.
func (d *Daemon) Run(ctx context.Context, servers ...Server) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		server := &http.Server{
			Handler: s.Handler, TLSConfig: s.TLS, ReadHeaderTimeout: headerDeadline, IdleTimeout: idleDeadline,
			MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn),
		}
		if s.Public {
			server.ConnState = newLimit(maxConns, maxPerClient).watch
		}
		group.Go(func() error { return serve(server, s) })
		group.Go(func() error {
			<-ctx.Done()
			return d.stop(server, s.Name)
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		if d.Drain != nil {
			d.Drain()
		}
		return nil
	})
	return group.Wait()
}

func serve(server *http.Server, s Server) error {
	var err error
	if s.TLS == nil {
		err = server.Serve(s.Listener)
	} else if err = newAhead(maxAhead).speakHTTP2(server); err == nil {
		err = server.ServeTLS(s.Listener, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s on %s: %w", s.Name, s.Listener.Addr(), err)
}

// stop closes the listener and waits for what is in flight, but not for ever.
func (d *Daemon) stop(server *http.Server, name string) error {
	longest := d.Longest
	if longest == 0 {
		longest = longestDrain
	}
	if d.Leave > 0 {
		timer := time.NewTimer(d.Leave)
		<-timer.C
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		d.Log.Warn("requests cut off at the end of the drain", "listener", name, "after", longest.String())
		return server.Close()
	}
	return nil
}

// Metrics answers /metrics from the registry, which gains the process's own
// metrics and its version, and /readyz, 200 while ready returns nil. What says returns are
// sentences of what is wrong and makes nobody unready: they are in the body.
func Metrics(r *prometheus.Registry, ready func() error, says ...func() []string) http.Handler {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_build_info", Help: "1, by the version that runs."}, []string{"version"})
	build.WithLabelValues(Version()).Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
		for _, all := range says {
			for _, sentence := range all() {
				fmt.Fprintln(w, sentence)
			}
		}
	})
	return mux
}

// Header is the header by which listeners for operators say whose they are.
const Header = "Breakwater-Daemon"

// Names of daemons, as Header has them and as people read them.
const (
	Edge       = "edge"
	NameServer = "name server"
)

// Named answers as that daemon: who asks knows that nothing else listens there.
func Named(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(Header, name)
		h.ServeHTTP(w, r)
	})
}

// Admin answers what operators ask on loopback: pprof, and the log level
// (GET /log-level, PUT /log-level with debug, info, warn or error).
func Admin(level *slog.LevelVar) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /log-level", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, level.Level()) })
	mux.HandleFunc("PUT /log-level", func(w http.ResponseWriter, r *http.Request) {
		text := make([]byte, 16)
		n, _ := r.Body.Read(text)
		if err := level.UnmarshalText(text[:n]); err != nil {
			http.Error(w, "want debug, info, warn or error", http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, level.Level())
	})
	return mux
}
