package provision

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"sync"
	"time"

	clientlabel "github.com/goharbor/go-client/pkg/sdk/v2.0/client/label"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// leaseName is the label, of the whole Harbor, that a run holds while it writes there: a
// Harbor takes a name once, so two runs cannot have it.
const leaseName = "breakwater-lease"

// How long a lease is: a run that was killed keeps others out for so long. One that goes
// on makes it longer three times in that time.
const leaseTerm = 5 * time.Minute

// lease is what a run holds at one Harbor.
type lease struct {
	id      int64
	harbor  *harbor
	holder  string // as "apply by host-1, process 4711"
	token   string // of this run
	term    time.Duration
	expires time.Time
	stop    func() // of its renewal
}

// text is the label's description, from which others read until when it holds.
func (l *lease) text() string {
	return fmt.Sprintf("%s, until %s or longer [%s]", l.holder, l.expires.UTC().Format(time.RFC3339), l.token)
}

var leaseText = regexp.MustCompile(`^(.*), until (\S+) or longer \[(.*)\]$`)

// busy is why a run does not begin: another one is at work.
type busy struct{ holder, since, until string }

func (b busy) Error() string {
	return fmt.Sprintf("%s is at work there%s, until %s or longer while it runs: run this again when it has ended. "+
		"If it was killed, wait until then, or take over at once: delete the label %s in the portal (Administration, Labels)", b.holder, b.since, b.until, leaseName)
}

// errNoLease is for accounts that may make no label: nothing keeps their runs apart.
var errNoLease = errors.New("this account may not take a lease")

// take makes the label. One that another run left, and whose time is over, goes.
func (l *lease) take(ctx context.Context) error {
	for range 3 {
		l.expires = time.Now().Add(l.term)
		m := &models.Label{Name: leaseName, Scope: "g", Color: "#FFFFFF", Description: l.text()}
		made, err := l.make(ctx, m)
		if err == nil {
			l.id, err = strconv.ParseInt(path.Base(made.Location), 10, 64)
			return err
		}
		if refused(err) && !isCode(err, 409) && !isCode(err, 429) {
			return errNoLease
		}
		if unasked(err) {
			return plain(err)
		}
		there, e := l.find(ctx)
		switch {
		case e == nil && there == nil && isCode(err, 409):
			continue // it has been given back meanwhile
		case e != nil || there == nil:
			return plain(err)
		}
		fields := leaseText.FindStringSubmatch(there.Description)
		if fields == nil {
			return busy{"somebody whose label " + leaseName + " says not who", since(there), "it is deleted"}
		}
		if l.id = there.ID; fields[3] == l.token {
			return nil // it was made, and the answer was lost
		}
		if until, err := time.Parse(time.RFC3339, fields[2]); err == nil && time.Now().Before(until) {
			return busy{fields[1], since(there), fields[2]}
		}
		if _, err := l.harbor.api.Label.DeleteLabel(ctx, clientlabel.NewDeleteLabelParams().WithLabelID(there.ID)); err != nil && !isCode(err, 404) {
			return plain(err)
		}
	}
	return busy{"another run that was faster", "", "now"}
}

// since says when the label was made.
func since(m *models.Label) string {
	if made := time.Time(m.CreationTime); made.Unix() > 0 {
		return " since " + made.UTC().Format(time.RFC3339)
	}
	return ""
}

// make makes the label. Where the run is ended meanwhile Harbor may have made it, or be about
// to: its answer is waited for, for a while.
func (l *lease) make(ctx context.Context, m *models.Label) (*clientlabel.CreateLabelCreated, error) {
	within, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), lastWord{}, true))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(releaseTimeout, cancel) })()
	return l.harbor.api.Label.CreateLabel(within, clientlabel.NewCreateLabelParams().WithLabel(m))
}

// find looks for the label, also after the run was ended: it may be this run's.
func (l *lease) find(ctx context.Context) (*models.Label, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), lastWord{}, true), releaseTimeout)
	defer cancel()
	got, err := l.harbor.api.Label.ListLabels(ctx, clientlabel.NewListLabelsParams().WithScope(ptr("g")).WithName(ptr(leaseName)).WithPageSize(ptr(int64(pageSize))))
	if err != nil {
		return nil, err
	}
	for _, m := range got.Payload {
		if m.Name == leaseName {
			return m, nil
		}
	}
	return nil, nil
}

// renew makes the lease longer until ctx ends. Where it is gone, somebody who believed
// this run dead has taken over, and lost is called.
func (l *lease) renew(ctx context.Context, lost func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.term / 3):
		}
		l.expires = time.Now().Add(l.term)
		m := &models.Label{ID: l.id, Name: leaseName, Scope: "g", Color: "#FFFFFF", Description: l.text()}
		_, err := l.harbor.api.Label.UpdateLabel(ctx, clientlabel.NewUpdateLabelParams().WithLabelID(l.id).WithLabel(m))
		if isCode(err, 404) && ctx.Err() == nil {
			lost(errors.New("another run has taken over"))
			return
		}
	}
}

// begin renews the lease until it is given back.
func (l *lease) begin(lost func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var renewing sync.WaitGroup
	renewing.Go(func() { l.renew(ctx, lost) })
	l.stop = func() { cancel(); renewing.Wait() }
}

// give deletes the label, whatever else has ended: it would keep the next run out.
func (l *lease) give() {
	l.stop()
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), lastWord{}, true), releaseTimeout)
	defer cancel()
	for range 3 {
		if _, err := l.harbor.api.Label.DeleteLabel(ctx, clientlabel.NewDeleteLabelParams().WithLabelID(l.id)); err == nil || isCode(err, 404) || ctx.Err() != nil {
			return
		}
	}
}

const releaseTimeout = 4 * time.Second // of what is done after the run was ended

// leases are what a provisioner holds.
type leases struct {
	term time.Duration // 0: leaseTerm
	mu   sync.Mutex
	held map[string]*lease // by datacenter; nil: the account may take none
	over context.Context   // ends when another run has taken one over
	lost context.CancelCauseFunc
}

// Hold keeps other runs that write from the Harbors until Close; what is this run's name
// for them. It is an error where another one is at work. A Harbor that does not answer is
// left out.
func (p *Provisioner) Hold(ctx context.Context, what string) error {
	_, _, err := p.hold(ctx, what, sortedKeys(p.harbors))
	return err
}

// hold holds some datacenters' Harbors, until release is called; barred are those whose
// lease could not be had. In the order of their names: of two runs that begin at once one
// has all of them.
func (p *Provisioner) hold(ctx context.Context, what string, datacenters []string) (release func(), barred map[string]error, err error) {
	l := &p.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*lease{}
		l.over, l.lost = context.WithCancelCause(context.Background())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	holder := fmt.Sprintf("%s by %s, process %d", what, host, os.Getpid())
	barred = map[string]error{}
	p.greet(ctx, datacenters)
	var taken []string
	for _, name := range datacenters {
		if _, ok := l.held[name]; ok {
			continue
		}
		if err := p.harbors[name].unable(ctx); err != nil {
			barred[name] = unsent{err}
			continue
		}
		one := &lease{harbor: p.harbors[name], holder: holder, token: rand.Text(), term: cmp.Or(l.term, leaseTerm)}
		switch err := one.take(ctx); {
		case errors.As(err, new(busy)):
			l.give(taken)
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		case errors.Is(err, errNoLease):
			one = nil
			p.notes = append(p.notes, name+": this account may make no label there, so nothing keeps another run from changing it at the same time")
		case err != nil:
			barred[name] = err
			continue
		default:
			one.begin(l.lost)
		}
		l.held[name] = one
		taken = append(taken, name)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.give(taken)
	}, barred, nil
}

// give ends the leases of the datacenters, all at once.
func (l *leases) give(datacenters []string) {
	var all sync.WaitGroup
	for _, name := range datacenters {
		if one := l.held[name]; one != nil {
			all.Go(one.give)
		}
		delete(l.held, name)
	}
	all.Wait()
}
