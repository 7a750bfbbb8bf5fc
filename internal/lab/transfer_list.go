package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// repos lists the repos at the source that the policy's name filters may take: of
// a registry that cannot be searched, the one that a filter spells out.
func (e *endpoint) repos(ctx context.Context, p *policy) ([]string, error) {
	switch {
	case e.registry == nil:
		return e.h.db.repositories(), nil
	case e.isHarbor():
		return e.harborRepos(ctx, p)
	}
	for _, f := range p.Filters {
		if name, _ := f.Value.(string); f.Type == "name" && name != "" && !strings.ContainsAny(name, "*?[{") {
			return []string{name}, nil
		}
	}
	var catalog struct{ Repositories []string }
	err := e.json(ctx, "/v2/_catalog?n=1000", &catalog)
	return catalog.Repositories, err
}

// harborRepos asks another Harbor: its projects, and their repositories.
func (e *endpoint) harborRepos(ctx context.Context, p *policy) (all []string, err error) {
	projects, err := e.harborProjects(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, project := range projects {
		for page := 1; ; page++ {
			var repos []struct{ Name string }
			if err := e.json(ctx, fmt.Sprintf("/api/v2.0/projects/%s/repositories?page=%d&page_size=100", project.Name, page), &repos); err != nil {
				return nil, err
			}
			for _, repo := range repos {
				all = append(all, repo.Name)
			}
			if len(repos) < 100 {
				break
			}
		}
	}
	return all, nil
}

// listedProject is a project as lists have it.
type listedProject struct{ Name string }

// harborProjects are the projects that the first name filter spells out, each asked for by
// its name: those that are not shown are left out without a word, whether they are not
// there or the login may not see them. Where none is shown, or the filter spells none out,
// it is all that are (Harbor's src/pkg/reg/adapter/harbor/base, ListProjects).
func (e *endpoint) harborProjects(ctx context.Context, p *policy) (all []listedProject, err error) {
	for _, f := range p.Filters {
		pattern, _ := f.Value.(string)
		if f.Type != "name" || pattern == "" {
			continue
		}
		first, _, _ := strings.Cut(pattern, "/")
		for _, name := range spelledOut(first) {
			found, err := e.projectsNamed(ctx, name)
			if err != nil {
				return nil, err
			}
			if slices.Contains(found, listedProject{name}) {
				all = append(all, listedProject{name})
			}
		}
		break
	}
	if len(all) > 0 {
		return all, nil
	}
	return e.projectsNamed(ctx, "")
}

// projectsNamed lists the projects whose names have something in them, page by page.
func (e *endpoint) projectsNamed(ctx context.Context, name string) (all []listedProject, err error) {
	for page := 1; ; page++ {
		var found []listedProject
		if err := e.json(ctx, fmt.Sprintf("/api/v2.0/projects?name=%s&page=%d&page_size=100", url.QueryEscape(name), page), &found); err != nil {
			return nil, err
		}
		if all = append(all, found...); len(found) < 100 {
			return all, nil
		}
	}
}

// spelledOut are the names that an element of a pattern stands for, as {a,b}; none where it
// has wildcards or more than one pair of braces (Harbor's IsSpecificPathComponent).
func spelledOut(element string) (names []string) {
	if element == "" || strings.ContainsAny(element, "*?[\\]^/") || strings.Count(element, "{") > 1 {
		return nil
	}
	if !strings.ContainsAny(element, "{},") {
		return []string{element}
	}
	from, to := strings.Index(element, "{"), strings.LastIndex(element, "}")
	if from < 0 || to < from {
		return nil
	}
	for _, name := range strings.Split(element[from+1:to], ",") {
		names = append(names, strings.TrimSpace(element[:from]+name+element[to+1:]))
	}
	return names
}

// references lists a repo's tags, and the digests of those artifacts that have none and
// belong to no other: they travel by digest. A registry that is no Harbor does not name them.
func (e *endpoint) references(ctx context.Context, repo string) (tags, untagged []string, err error) {
	project, name, _ := strings.Cut(repo, "/")
	if e.registry == nil {
		e.h.db.mu.Lock()
		defer e.h.db.mu.Unlock()
		p := e.h.db.projectLocked(project)
		if p == nil || p.repos[repo] == nil {
			return nil, nil, nil
		}
		tags, untagged = p.repos[repo].references()
		return tags, untagged, nil
	}
	if !e.isHarbor() {
		var list struct{ Tags []string }
		if err := e.json(ctx, "/v2/"+repo+"/tags/list", &list); err != nil {
			return nil, nil, fmt.Errorf("failed to fetch artifacts: failed to list artifacts of repository %s: %w", repo, err)
		}
		return list.Tags, nil, nil
	}
	for page := 1; ; page++ {
		var artifacts []struct {
			Digest string
			Tags   []struct{ Name string }
		}
		err := e.json(ctx, fmt.Sprintf("/api/v2.0/projects/%s/repositories/%s/artifacts?page=%d&page_size=100&with_label=true&with_accessory=true",
			project, url.PathEscape(url.PathEscape(name)), page), &artifacts)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range artifacts {
			for _, tag := range a.Tags {
				tags = append(tags, tag.Name)
			}
			if len(a.Tags) == 0 {
				untagged = append(untagged, a.Digest)
			}
		}
		if len(artifacts) < 100 {
			return tags, untagged, nil
		}
	}
}

// insideKey is of requests that this Harbor makes of itself: who it does so as.
type insideKey struct{}

// inProcess is a handler as a transport: bodies are streamed.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	body, into := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: into, ready: make(chan struct{})}
	served := r.Clone(r.Context())
	served.RequestURI, served.Host = r.URL.RequestURI(), r.URL.Host
	if served.Body == nil {
		served.Body = http.NoBody
	}
	go func() {
		defer func() {
			if recover() != nil { // http.ErrAbortHandler
				into.CloseWithError(io.ErrUnexpectedEOF)
			}
			w.WriteHeader(http.StatusOK)
			into.Close()
		}()
		t.handler.ServeHTTP(w, served)
	}()
	<-w.ready
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Body: body, Request: r, ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter
	status int
	ready  chan struct{}
}

// Header implements http.ResponseWriter.
func (w *pipeWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *pipeWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		close(w.ready)
	}
}

// Write implements io.Writer.
func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
