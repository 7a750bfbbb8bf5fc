package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"example.org/breakwater/internal/fleet"
	"example.org/breakwater/internal/naming"
)

// maxRepositories bounds what an Artifactory lists.
const maxRepositories = 64 << 20

// artifactoryKeys lists the local Docker repositories of an Artifactory, without
// those that are excluded: by its repositories API (GET
// /artifactory/api/repositories?type=local&packageType=docker), else by the one of its
// user interface. notes say what was left out. Keys that cannot be projects, or that
// are declared caches already, are errors: two caches would be one.
func artifactoryKeys(ctx context.Context, a *fleet.Artifactory, user, password string, declared []string) (keys, notes []string, err error) {
	trust, err := tlsOf(a.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("projects.artifactory.ca: %w", err)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust}}
	defer client.CloseIdleConnections()
	get := func(path string, v any) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(a.URL)+path, nil)
		if err != nil {
			return 0, err
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.StatusCode, fmt.Errorf("it answers %s", resp.Status)
		}
		return resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, maxRepositories)).Decode(v)
	}
	all, err := listRepositories(get)
	if err != nil {
		return nil, nil, fmt.Errorf("list the repositories of %s: %w", a.URL, err)
	}
	slices.Sort(all)
	for _, key := range slices.Compact(all) {
		switch {
		case slices.ContainsFunc(a.Exclude, func(pattern string) bool { return naming.Match(pattern, key) }):
		case !naming.ValidProject(naming.Cache + key):
			return nil, nil, fmt.Errorf("repository %q of Artifactory cannot be a Harbor project: rename it there, or write it into projects.artifactory.exclude", key)
		case slices.Contains(declared, key):
			return nil, nil, fmt.Errorf("repository %q of Artifactory is a cache of projects.cache too: exclude it in projects.artifactory.exclude, or remove the cache", key)
		default:
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		notes = append(notes, fmt.Sprintf("%s lists no local Docker repository; nothing is made of it, and nothing is deleted for it", a.URL))
	}
	return keys, notes, nil
}

func listRepositories(get func(path string, v any) (int, error)) ([]string, error) {
	var plain []struct{ Key string }
	status, err := get("/artifactory/api/repositories?type=local&packageType=docker", &plain)
	if err == nil {
		var keys []string
		for _, r := range plain {
			keys = append(keys, r.Key)
		}
		return keys, nil
	}
	if status != http.StatusNotFound && status != http.StatusForbidden && status != http.StatusUnauthorized && status != http.StatusBadRequest {
		return nil, err // it is not well: an empty answer would look like a deletion
	}
	var interfaceOf struct {
		RepoTypesList []struct {
			RepoKey, RepoType string
			IsLocal           bool
		}
	}
	if _, e := get("/ui/api/v1/ui/repodata?packageSearch=true", &interfaceOf); e != nil {
		return nil, fmt.Errorf("%w; by the user interface's API: %w", err, e)
	}
	var keys []string
	for _, r := range interfaceOf.RepoTypesList {
		if r.RepoType == "Docker" && r.IsLocal {
			keys = append(keys, r.RepoKey)
		}
	}
	return keys, nil
}
