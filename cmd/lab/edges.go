package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/breakwater/cmd/internal/wire"
	"example.org/breakwater/internal/daemon"
)

// edgeRun is an edge from its start to its end. One that broke is followed by another.
type edgeRun struct {
	*wire.Edge
	ctx   context.Context
	end   context.CancelFunc
	ended chan struct{} // closed when it serves no longer
}

// The two fleet files of a datacenter: the one for people, with everybody's real address, and
// the one of its edge and name server, who reach the others over links.
const (
	fleetName  = "fleet.yaml"
	linkedName = "linked.yaml"
)

func (l *running) file(i int, name string) string { return filepath.Join(l.dir, places[i].name, name) }

// startDatacenter starts the edge and the name server of one.
func (l *running) startDatacenter(i int) error {
	text := l.fleetFile(filepath.Join(l.dir, places[i].name, "store"), l.places[i])
	if err := os.WriteFile(l.file(i, fleetName), []byte(text), 0o600); err != nil {
		return err
	}
	if err := l.writeLinked(i); err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := newLog(l.lines, places[i].name, level)
	go daemon.Watch(l.ctx, func() { // its daemons take what is changed while they run
		if err := l.writeLinked(i); err != nil {
			log.Warn("fleet file not read again", "err", err.Error())
		}
	}, l.file(i, fleetName))
	if err := l.startEdge(i); err != nil {
		return err
	}
	if !l.ownAddresses() {
		return nil
	}
	node, err := wire.NewGSLB(l.ctx, wire.GSLBFile{Fleet: l.file(i, linkedName), Datacenter: places[i].name, Log: log, Level: level})
	if err != nil {
		return err
	}
	l.gslbs = append(l.gslbs, node)
	return nil
}

// writeLinked writes the datacenter's fleet file as its own daemons need it.
func (l *running) writeLinked(i int) error {
	text, err := os.ReadFile(l.file(i, fleetName))
	if err != nil {
		return err
	}
	return os.WriteFile(l.file(i, linkedName), []byte(l.overLinks(i, string(text))), 0o600)
}

func (l *running) startEdge(i int) error {
	e := &edgeRun{ended: make(chan struct{})}
	e.ctx, e.end = context.WithCancel(l.ctx)
	level := new(slog.LevelVar)
	var err error
	e.Edge, err = wire.NewEdge(e.ctx, wire.EdgeConfig{File: l.file(i, linkedName), Datacenter: places[i].name, Version: daemon.Version(), Log: newLog(l.lines, places[i].name, level), Level: level})
	if err != nil {
		e.end()
		return err
	}
	l.edges[i] = e
	return nil
}

// serve runs the edges and name servers until the lab's context ends, and takes commands. begun
// is called when all have begun.
func (l *running) serve(begun func()) error {
	l.group, l.ctx = errgroup.WithContext(l.ctx)
	for _, e := range l.edges {
		context.AfterFunc(l.ctx, e.end) // it began before the group did
		l.serveEdge(e)
	}
	for _, g := range l.gslbs {
		l.group.Go(func() error { return g.Run(l.ctx) })
	}
	l.group.Go(func() error { return l.serveControl(l.ctx) })
	begun()
	return l.group.Wait()
}

func (l *running) serveEdge(e *edgeRun) {
	l.group.Go(func() error {
		defer close(e.ended)
		return e.Run(e.ctx)
	})
}

// breakEdge ends an edge as a machine does that loses its power: nothing is finished.
func (l *running) breakEdge(i int) error {
	e := l.edges[i]
	l.edges[i] = nil
	e.Daemon.Longest = time.Nanosecond
	e.end()
	<-e.ended
	return e.Close()
}

// healEdge starts one again, with what its store had.
func (l *running) healEdge(i int) error {
	if err := l.startEdge(i); err != nil {
		return err
	}
	l.serveEdge(l.edges[i])
	return nil
}
