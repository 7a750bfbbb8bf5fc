package gslb

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the name server; a nil one counts nothing.
type metrics struct {
	up       *prometheus.GaugeVec
	ill      prometheus.Gauge
	dead     *prometheus.GaugeVec
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec

	queries     *prometheus.CounterVec
	decisions   *prometheus.CounterVec
	subnets     prometheus.Counter
	limited     *prometheus.CounterVec
	unlogged    prometheus.Counter
	untold      prometheus.Counter
	connections prometheus.Gauge
	evicted     prometheus.Counter
	panics      prometheus.Counter
	changes     prometheus.Counter
	isolated    prometheus.Gauge
	observedUp  *prometheus.GaugeVec
	signedUntil *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		return nil
	}
	m := &metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_gslb_datacenter_up",
			Help: "Whether the probes of this node say that the datacenter serves."}, []string{"datacenter"}),
		ill: prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_gslb_ill",
			Help: "Whether all probes of this node failed at once and fail still: it is ill itself, and answers as before."}),
		dead: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_gslb_addresses_dead",
			Help: "Addresses of the datacenter that do not answer this node, and are left out."}, []string{"datacenter"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "breakwater_gslb_probe_seconds",
			Help: "Time of a probe.", Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3}}, []string{"datacenter"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_gslb_probe_failures_total",
			Help: "Probes that failed: connect, timeout, tls, status, body."}, []string{"datacenter", "reason"}),
	}
	m.queries = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_gslb_queries_total",
		Help: "Queries answered, by type (A, AAAA, … or other), response code and transport."}, []string{"type", "rcode", "transport"})
	m.decisions = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_gslb_decisions_total",
		Help: "Answers by datacenter and tier (nearest, farther, backup, panic, nobody)."}, []string{"datacenter", "tier"})
	m.subnets = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_client_subnet_total",
		Help: "Decisions that were made by a client subnet."})
	m.limited = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "breakwater_gslb_rate_limited_total",
		Help: "Responses over the rate: slipped (cut short) or dropped."}, []string{"how"})
	m.unlogged = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_query_log_dropped_total",
		Help: "Queries that are not in the log although they were to be: there were too many."})
	m.untold = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_dnstap_dropped_total",
		Help: "Messages that dnstap's collector does not get: it is not there, or too slow."})
	m.connections = prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_gslb_tcp_connections", Help: "Open TCP connections."})
	m.evicted = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_tcp_evicted_total",
		Help: "TCP connections that were idle for the longest and gave way to a new one: there were too many."})
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_panics_total",
		Help: "Queries that got SERVFAIL because answering them ended in a panic, which is a fault of the program: the log has them."})
	m.changes = prometheus.NewCounter(prometheus.CounterOpts{Name: "breakwater_gslb_changes_total",
		Help: "Times that what is answered was made anew: health, overrides, a new configuration."})
	m.isolated = prometheus.NewGauge(prometheus.GaugeOpts{Name: "breakwater_gslb_isolated",
		Help: "Whether this node hears no other and reaches nothing outside its datacenter, and keeps what it knew."})
	m.observedUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_gslb_observed_up",
		Help: "Whether the probes of another node that is heard now say that the datacenter serves."}, []string{"observer", "datacenter"})
	m.signedUntil = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "breakwater_gslb_signatures_expiry_timestamp_seconds",
		Help: "When the first signature of the zone runs out that is answered now. Zones that are not signed have none."}, []string{"zone"})
	r.MustRegister(m.isolated, m.observedUp, m.signedUntil, m.up, m.ill, m.dead, m.seconds, m.failures, m.queries, m.decisions, m.subnets, m.limited, m.unlogged, m.untold, m.connections, m.evicted, m.panics, m.changes)
	return m
}

func (m *metrics) setIsolated(is bool) {
	if m != nil {
		set(m.isolated, is)
	}
}

// observed is what others say. Of several of one datacenter one is shown.
func (m *metrics) observed(others []heard) {
	if m == nil {
		return
	}
	m.observedUp.Reset()
	for _, o := range others {
		for name, d := range o.Datacenters {
			set(m.observedUp.WithLabelValues(o.Node, name), d.Up)
		}
	}
}

// hooks are what the wire tells.
func (m *metrics) hooks() *hooks {
	if m == nil {
		return nil
	}
	return &hooks{
		onAnswer: m.queriesBy(),
		onLimit: func(slipped bool) {
			how := discard
			if slipped {
				how = slip
			}
			m.limited.WithLabelValues(how.text()).Inc()
		},
		onConnection: func(change int) { m.connections.Add(float64(change)) },
		onPanic:      m.panics.Inc,
		onEvict:      m.evicted.Inc,
	}
}

// queriesBy counts queries. What counts those that are alike is looked up once.
func (m *metrics) queriesBy() func(qtype uint16, rcode int, tcp bool) {
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSOA, dns.TypeNS, dns.TypeTXT, dns.TypeANY, 0} // 0: others
	counter := func(qtype uint16, rcode int, tcp bool) prometheus.Counter {
		name, transport := "other", "udp"
		if qtype != 0 {
			name = dns.TypeToString[qtype]
		}
		if tcp {
			transport = "tcp"
		}
		return m.queries.WithLabelValues(name, dns.RcodeToString[rcode], transport)
	}
	var known [7][16][2]atomic.Pointer[prometheus.Counter]
	return func(qtype uint16, rcode int, tcp bool) {
		at := slices.Index(types, qtype)
		if at < 0 {
			at = len(types) - 1
		}
		if rcode >= len(known[at]) {
			counter(types[at], rcode, tcp).Inc()
			return
		}
		over := 0
		if tcp {
			over = 1
		}
		place := &known[at][rcode][over]
		c := place.Load()
		if c == nil {
			made := counter(types[at], rcode, tcp)
			c = &made
			place.Store(c)
		}
		(*c).Inc()
	}
}

// decision counts what was decided so; datacenter "" is nobody.
func (m *metrics) decision(datacenter, tier string) prometheus.Counter {
	if m == nil {
		return nil
	}
	return m.decisions.WithLabelValues(datacenter, tier)
}

// decided counts a decision, with what counts those that are like it.
func (m *metrics) decided(alike prometheus.Counter, bySubnet bool) {
	if m == nil {
		return
	}
	alike.Inc()
	if bySubnet {
		m.subnets.Inc()
	}
}

// notLogged counts a query that was to be in the log.
func (m *metrics) notLogged() {
	if m != nil {
		m.unlogged.Inc()
	}
}

// untapped counts messages that the collector does not get.
func (m *metrics) untapped(messages int) {
	if m != nil {
		m.untold.Add(float64(messages))
	}
}

// changed is told what is answered from now on.
func (m *metrics) changed(v *view) {
	if m == nil {
		return
	}
	m.changes.Inc()
	m.signedUntil.Reset()
	for _, z := range v.zones {
		if z.signed != nil {
			m.signedUntil.WithLabelValues(plainName(z.Origin)).Set(float64(z.signed.until.Unix()))
		}
	}
}

func (m *metrics) setUp(datacenter string, up bool) {
	if m != nil {
		set(m.up.WithLabelValues(datacenter), up)
	}
}

func (m *metrics) setIll(ill bool) {
	if m != nil {
		set(m.ill, ill)
	}
}

func (m *metrics) setDead(datacenter string, addresses int) {
	if m != nil {
		m.dead.WithLabelValues(datacenter).Set(float64(addresses))
	}
}

func set(g prometheus.Gauge, is bool) {
	value := 0.0
	if is {
		value = 1
	}
	g.Set(value)
}

// forget drops what is of a datacenter that is gone.
func (m *metrics) forget(datacenter string) {
	if m == nil {
		return
	}
	of := prometheus.Labels{"datacenter": datacenter}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.up, m.dead, m.observedUp, m.seconds, m.failures, m.decisions} {
		v.DeletePartialMatch(of)
	}
}

func (m *metrics) probed(datacenter string, took time.Duration, err error) {
	if m == nil {
		return
	}
	m.seconds.WithLabelValues(datacenter).Observe(took.Seconds())
	var f *failure
	if errors.As(err, &f) {
		m.failures.WithLabelValues(datacenter, f.reason).Inc()
	}
}
