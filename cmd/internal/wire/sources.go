package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"example.org/breakwater/internal/daemon"
	"example.org/breakwater/internal/ecr"
	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
	"example.org/breakwater/internal/secret"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/registry"
)

// dockerHub is Docker Hub's registry; what its endpoint is called in Harbor is
// the web site's address.
const dockerHub = "https://registry-1.docker.io"

func (cfg EdgeConfig) userAgent() http.Header {
	return http.Header{"User-Agent": {"breakwater/" + cfg.Version}}
}

func newHarbor(cfg EdgeConfig, f *fleet.Fleet, address fleet.URL, robot string) (*registry.Source, error) {
	source := registry.SourceConfig{URL: string(address), Names: publicNames(f, cfg.Datacenter), Trusted: true, Header: cfg.userAgent()}
	if robot != "" {
		source.Username, source.Password = f.Harbor.RobotPrefix+f.Edge.Robot.Name, robot
	}
	var err error
	if source.TLS, err = trust(f.Harbor.CA); err != nil {
		return nil, fmt.Errorf("harbor.ca: %w", err)
	}
	source.Wrap = cfg.tracing.wrapper("harbor", hostOf(address))
	return registry.NewSource(source)
}

// hostOf is a URL's host, with its port if it has one.
func hostOf(address fleet.URL) string {
	u, err := url.Parse(string(address))
	if err != nil {
		return ""
	}
	return u.Host
}

// trust is the TLS configuration that believes the system's authorities and
// those of a PEM file; nil where there is no file.
func trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, addTo(pool, file)
}

func addTo(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s holds no PEM certificate", file)
	}
	return err
}

// peers are the other datacenters' edges, nearest first, and the authorities of
// the certificates that they show. Edges without an address are left out.
func peers(cfg EdgeConfig, f *fleet.Fleet, certificate *daemon.Certificate) (all []peer.Peer, roots *x509.CertPool, err error) {
	own := f.Datacenters[cfg.Datacenter]
	var names []string
	for name, dc := range f.Datacenters {
		if name != cfg.Datacenter && dc.Edge != "" {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(own, f.Datacenters[a]), distance(own, f.Datacenters[b])), cmp.Compare(a, b))
	})
	for _, name := range names {
		source := registry.SourceConfig{URL: string(f.Datacenters[name].Edge), Prefix: peer.Path, Trusted: true, Header: cfg.userAgent()}
		if source.TLS, err = trust(f.Harbor.CA); err != nil {
			return nil, nil, fmt.Errorf("harbor.ca: %w", err)
		}
		if ca := f.Edge.Peers.CA; ca != "" {
			if source.TLS == nil {
				source.TLS, err = trust(ca)
			} else {
				err = addTo(source.TLS.RootCAs, ca)
			}
			roots = x509.NewCertPool()
			if err := errors.Join(err, addTo(roots, ca)); err != nil {
				return nil, nil, fmt.Errorf("edge.peers.ca: %w", err)
			}
			if certificate != nil {
				certificate.Show(source.TLS)
			}
		}
		source.Wrap = cfg.tracing.wrapper("peer-"+name, hostOf(f.Datacenters[name].Edge))
		edge, err := registry.NewSource(source)
		if err != nil {
			return nil, nil, fmt.Errorf("datacenters.%s.edge: %w", name, err)
		}
		all = append(all, peer.Peer{Datacenter: name, Edge: edge})
	}
	return all, roots, nil
}

// distance between two datacenters in km; those without a location are far.
func distance(a, b *fleet.Datacenter) float64 {
	if a.Location == nil || b.Location == nil {
		return math.MaxFloat64
	}
	return location(a).Kilometres(*location(b))
}

// UpstreamAddress is where the edge asks the registry that a cache is of.
func UpstreamAddress(cache *fleet.Cache) string {
	if cache.Provider == fleet.DockerHub && (cache.Endpoint == "" || cache.Endpoint == "https://hub.docker.com") {
		return dockerHub
	}
	return string(cache.Endpoint)
}

// LogIn has a source show a cache's login: the username and password, or, of a registry of
// Amazon's, what is made of them where they are an account's keys. Where they are none, the
// error says why there is no login.
func LogIn(source *registry.SourceConfig, cache *fleet.Cache, username, password string) error {
	if cache.Provider != fleet.AWS {
		source.Username, source.Password = username, password
		return nil
	}
	api, region, account := cache.ECR()
	switch {
	case !account:
		return errors.New("its endpoint is the address of Amazon's API, and no account's registry")
	case password == "":
		return errors.New("there is no access key, and the role of Harbor's machine is Harbor's alone")
	}
	source.Keys = ecr.Account{API: api, Region: region, AccessKey: username, SecretKey: password}
	return nil
}

// noWay is why an edge has no way of its own to an upstream: Harbor alone fetches from there.
type noWay struct {
	error
	secret bool // its credentials cannot be had; else they are no login of a registry, or its address is none
}

// upstream is the registry that a cache is of, for the edge's own way there. The error is a
// noWay where there is none.
func upstream(ctx context.Context, cfg EdgeConfig, secrets *secret.Store, name string, cache *fleet.Cache) (*registry.Source, error) {
	source := registry.SourceConfig{URL: UpstreamAddress(cache), Proxy: string(cache.Proxy), Header: cfg.userAgent(), Realms: cache.Realms}
	var err error
	if source.TLS, err = trust(cache.CA); err != nil {
		return nil, fmt.Errorf("projects.cache.%s.ca: %w", name, err)
	}
	if cache.Redirects != nil { // none is something else than not a word
		source.Redirects = []registry.Destination{}
	}
	for _, place := range cache.Redirects {
		to, err := registry.ParseDestination(string(place))
		if err != nil {
			return nil, fmt.Errorf("projects.cache.%s.redirects: %w", name, err)
		}
		source.Redirects = append(source.Redirects, to)
	}
	username, err := secrets.Get(ctx, cache.Username.Ref)
	if err != nil {
		return nil, noWay{fmt.Errorf("projects.cache.%s.username: %w", name, err), true}
	}
	password, err := secrets.GetFor(ctx, cache.Password, name)
	if err != nil {
		return nil, noWay{fmt.Errorf("projects.cache.%s.password: %w", name, err), true}
	}
	if err = LogIn(&source, cache, cmp.Or(cache.Username.Value, username), password); err != nil {
		return nil, noWay{fmt.Errorf("projects.cache.%s: %w", name, err), false}
	}
	source.Wrap = cfg.tracing.wrapper("upstream-"+name, "")
	s, err := registry.NewSource(source)
	if err != nil {
		return nil, noWay{err, false}
	}
	return s, nil
}

// upstreams are the registries that the edge can reach itself, by the project of their
// cache; without says why it cannot reach others. An edge starts without credentials that
// it cannot have. While it runs, what it could have before is not given up for that, and
// what is new is to be whole.
func upstreams(ctx context.Context, cfg EdgeConfig, secrets *secret.Store, f *fleet.Fleet, before *reading) (all map[string]*registry.Source, without map[string]string, err error) {
	all, without = map[string]*registry.Source{}, map[string]string{}
	for name, cache := range f.Projects.Cache.Items {
		project := f.Project(naming.Cache, name)
		s, err := upstream(ctx, cfg, secrets, name, cache.In(cfg.Datacenter))
		var no noWay
		switch {
		case err == nil:
			all[project] = s
		case !errors.As(err, &no) || no.secret && before != nil && before.without[project] == "":
			return nil, nil, err
		default:
			without[project] = err.Error()
		}
	}
	return all, without, nil
}

// publicNames are the hosts by which clients know the Harbor of a datacenter.
func publicNames(f *fleet.Fleet, datacenter string) (all []string) {
	for _, host := range []string{f.Domain, hostOf(f.Datacenters[datacenter].Edge)} {
		if host != "" {
			all = append(all, host)
		}
	}
	return all
}

// names are the hosts by which clients may know an edge.
func names(f *fleet.Fleet) []string {
	all := []string{f.Domain}
	for _, dc := range f.Datacenters {
		for _, address := range []fleet.URL{dc.Edge, dc.Harbor} {
			if u, err := url.Parse(string(address)); err == nil && u.Host != "" {
				all = append(all, u.Host)
			}
		}
	}
	return all
}

// namespaces are the managed projects of the fleet file, as a datacenter has them.
func namespaces(f *fleet.Fleet, datacenter string) (all []namespace.Namespace) {
	for name := range f.Projects.MultiDC.Items {
		all = append(all, namespace.Namespace{Project: f.Project(naming.MultiDC, name), Kind: namespace.MultiDC}.HeldAt(f.Homes(name), datacenter))
	}
	for _, name := range f.Projects.Cache.Names() {
		cache := f.Projects.Cache.Items[name].In(datacenter)
		ns := namespace.Namespace{Project: f.Project(naming.Cache, name), Kind: namespace.Cache, DockerHub: cache.Provider == fleet.DockerHub, Host: cache.Host()}
		if ns.Keep = time.Duration(*cache.Keep); *cache.Keep == fleet.Forever {
			ns.Keep = namespace.Forever
		}
		for _, pattern := range cache.Freeze {
			image, tag := fleet.CutTag(pattern)
			ns.Freeze = append(ns.Freeze, namespace.Frozen{Image: image, Tag: tag})
		}
		all = append(all, ns)
	}
	for name, repl := range f.Projects.Repl.Items {
		ns := namespace.Namespace{Project: f.Project(naming.Repl, name), Kind: namespace.Repl}
		for _, image := range repl.In(datacenter).Images {
			ns.Rules = append(ns.Rules, namespace.Rule{From: f.Project(naming.Cache, image.From), Name: image.Name, Tags: image.Tags, Flatten: image.Flatten.Count})
		}
		all = append(all, ns)
	}
	return all
}
