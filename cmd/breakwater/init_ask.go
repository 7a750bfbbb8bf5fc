package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"example.org/breakwater/internal/fleet"
)

// questions are asked on a terminal, one line an answer.
type questions struct {
	ctx   context.Context // ends them: nobody can be made to answer
	in    io.Reader
	out   io.Writer
	lines *bufio.Scanner
}

// maxTries bounds how often one question is asked.
const maxTries = 5

var errNoAnswer = errors.New("there is no answer")

// ask asks until the answer is sound; wrong says why it is not, "" if it is.
func (q *questions) ask(question string, wrong func(answer string) string) (string, error) {
	if q.lines == nil {
		q.lines = bufio.NewScanner(q.in)
	}
	for range maxTries {
		fmt.Fprint(q.out, question+" ")
		came := make(chan bool, 1)
		go func() { came <- q.lines.Scan() }()
		select {
		case more := <-came:
			if !more {
				return "", errors.Join(errNoAnswer, q.lines.Err())
			}
		case <-q.ctx.Done():
			return "", context.Cause(q.ctx)
		}
		answer := strings.TrimSpace(q.lines.Text())
		why := wrong(answer)
		if why == "" {
			return answer, nil
		}
		fmt.Fprintln(q.out, "  "+why)
	}
	return "", fmt.Errorf("the answer was wrong %d times", maxTries)
}

// wrongIn says what check says of a field of the file that a sketch would become.
func (s sketch) wrongIn(field string) string {
	if len(s.datacenters) == 0 {
		s.datacenters = []pair{{"par1", "https://harbor.par1.example.org"}}
	}
	_, err := fleet.Load("", []byte(s.text()))
	var faults fleet.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			if f.Field == field || strings.HasPrefix(f.Field, field+".") {
				return f.Message
			}
		}
	}
	return ""
}

// ask completes the sketch.
func (s *sketch) ask(q *questions) (err error) {
	given := len(s.datacenters) > 0
	if s.domain == "" {
		s.domain, err = q.ask("The one name that clients use (harbor.example.org):", func(answer string) string { return sketch{domain: answer}.wrongIn("domain") })
	}
	for err == nil && !given {
		var done bool
		if done, err = s.askDatacenter(q); done {
			break
		}
	}
	if err == nil && len(s.caches) == 0 {
		err = s.askCaches(q)
	}
	if errors.Is(err, errNoAnswer) {
		fmt.Fprintln(q.out)
		return errors.New("the answers ended before the questions did, and nothing was written; begin again, or give --domain and --datacenter")
	}
	return err
}

// askDatacenter asks for one datacenter; done: there is no further one.
func (s *sketch) askDatacenter(q *questions) (done bool, err error) {
	question := "The name of a datacenter (par1):"
	if len(s.datacenters) > 0 {
		question = "The name of another datacenter (Enter: there is none):"
	}
	with := func(name, harbor string) sketch {
		next := *s
		next.datacenters = append(append([]pair{}, s.datacenters...), pair{name, harbor})
		return next
	}
	name, err := q.ask(question, func(answer string) string {
		switch {
		case answer == "" && len(s.datacenters) > 0:
			return ""
		case valueOf(s.datacenters, answer) != "":
			return "it is there already; write another name"
		}
		return with(answer, "https://harbor.example.net").wrongIn("datacenters." + answer)
	})
	if err != nil || name == "" {
		return true, err
	}
	path := "datacenters." + name
	harbor, err := q.ask(fmt.Sprintf("The address of the Harbor in %s (https://harbor.%s.example.org):", name, name), func(answer string) string {
		return with(name, answer).wrongIn(path + ".harbor")
	})
	if err != nil {
		return true, err
	}
	*s = with(name, harbor)
	edge, err := q.ask(fmt.Sprintf("How others reach the edge of %s (https://edge.%s.example.org; Enter: they do not):", name, name), func(answer string) string {
		next := *s
		next.edges = append(append([]pair{}, s.edges...), pair{name, answer})
		return next.wrongIn(path + ".edge")
	})
	if edge != "" {
		s.edges = append(s.edges, pair{name, edge})
	}
	return err != nil, err
}

func (s *sketch) askCaches(q *questions) error {
	answer, err := q.ask("Caches of other registries (dockerhub quay.io ghcr.io; Enter: none):", func(answer string) string {
		next := *s
		next.caches = cachesOf(answer)
		return next.wrongIn("projects")
	})
	s.caches = cachesOf(answer)
	return err
}

func cachesOf(answer string) (all []pair) {
	for _, word := range strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		name, value, _ := strings.Cut(word, "=")
		all = append(all, pair{name, value})
	}
	return all
}
