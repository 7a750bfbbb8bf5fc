package lab

import "net/http"

const (
	linkByLast   = `<{path}/v2/{repo}/tags/list?last={last}&n={n}>; rel="next"`
	linkAbsolute = `<https://{host}{path}/v2/{repo}/tags/list?n={n}&last={last}>; rel="next"`
	linkOpaque   = `<https://{host}{path}/v2/{repo}/tags/list?next_page={last}>; rel="next"` // in words of its own
)

var (
	noSuchRepo  = Says{Status: http.StatusNotFound, Code: "NAME_UNKNOWN"}
	notForYou   = Says{Status: http.StatusForbidden, Code: "DENIED"}
	noSuchPath  = Says{Status: http.StatusNotFound, Body: "404 page not found\n", Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
	tooMany     = Says{Status: http.StatusTooManyRequests, Code: "TOOMANYREQUESTS"}
	unsupported = Says{Status: http.StatusNotFound, Code: "UNSUPPORTED"}
)

// realm is a challenge that names a token service.
func realm(url, service string) string {
	return `Bearer realm="` + url + `",service="` + service + `"{scope}`
}

// Dialects are those of docs/upstreams.md, under the names that they have there.
var Dialects = []Dialect{
	{
		Name: "Docker Hub", Host: "registry-1.docker.io", Challenge: []string{realm("https://auth.docker.io/token", "registry.docker.io")},
		Token: Tokens{Host: "auth.docker.io", Path: "/token", Field: "token", Seconds: 300},
		Tags:  Pages{Link: linkByLast}, Storage: "production.cloudflare.docker.com",
		Limit: Says{Status: http.StatusTooManyRequests, Code: "TOOMANYREQUESTS", Header: http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"0;w=21600"}}},
		Rate:  http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"76;w=21600"}},
	}, {
		Name: "quay.io", Host: "quay.io", Challenge: []string{realm("https://quay.io/v2/auth", "quay.io")}, OpenRepos: true,
		Token: Tokens{Host: "quay.io", Path: "/v2/auth", Field: "token"},
		Tags:  Pages{Usual: 100, Most: 100, Clips: true, Link: linkAbsolute}, Storage: "cdn01.quay.io", Limit: Says{Status: http.StatusTooManyRequests, Body: "Too many requests"},
	}, {
		Name: "ghcr.io", Host: "ghcr.io", Challenge: []string{realm("https://ghcr.io/token", "ghcr.io")},
		Token: Tokens{Host: "ghcr.io", Path: "/token", Field: "token", Forbidden: http.StatusForbidden}, Missing: Says{Status: http.StatusNotFound, Code: "NAME_UNKNOWN"},
		Tags: Pages{Usual: 100, Link: linkByLast}, Storage: "pkg-containers.githubusercontent.com",
		Referrers: Says{Status: http.StatusSeeOther, Header: http.Header{"Location": {"https://github.com/-/v2/packages/container"}}}, Limit: tooMany,
	}, {
		Name: "gcr.io and Artifact Registry", Host: "europe-docker.pkg.dev", Challenge: []string{realm("https://europe-docker.pkg.dev/v2/token", "europe-docker.pkg.dev")}, OpenRepos: true,
		Token: Tokens{Host: "europe-docker.pkg.dev", Path: "/v2/token", Field: "token", Seconds: 3600, Forbidden: http.StatusForbidden}, Missing: notForYou, Forbidden: notForYou,
		Tags: Pages{Ignored: true}, Storage: "storage.googleapis.com", Referrers: noSuchPath, Limit: tooMany,
	}, {
		Name: "registry.k8s.io", Host: "registry.k8s.io", Missing: noSuchRepo, Tags: Pages{Ignored: true}, Elsewhere: "europe-west3-docker.pkg.dev",
		Storage: "prod-registry-k8s-io-eu-central-1.s3.dualstack.eu-central-1.amazonaws.com", Referrers: noSuchPath, Limit: tooMany,
	}, {
		Name: "public.ecr.aws", Host: "public.ecr.aws", Challenge: []string{realm("https://public.ecr.aws/token/", "public.ecr.aws")},
		Token:   Tokens{Host: "public.ecr.aws", Path: "/token/", Field: "token", Seconds: 3600, Wide: true},
		Missing: noSuchRepo, Forbidden: noSuchRepo, Tags: Pages{Usual: 1000, Most: 1000, Link: linkOpaque}, Storage: "d5l0dvt14r5h8.cloudfront.net", Referrers: unsupported,
		Limit: Says{Status: http.StatusTooManyRequests, Body: `{"message":"Rate exceeded"}`},
	}, {
		Name: "ECR private", Host: "123456789012.dkr.ecr.eu-west-1.amazonaws.com", Challenge: []string{`Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"`}, TakesBasic: true, Private: true,
		Missing: noSuchRepo, Tags: Pages{Usual: 100, Most: 1000, Link: linkOpaque}, Storage: "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com", Limit: tooMany,
	}, {
		Name: "ACR", Host: "contoso.azurecr.io", Challenge: []string{realm("https://contoso.azurecr.io/oauth2/token", "contoso.azurecr.io")},
		Token: Tokens{Host: "contoso.azurecr.io", Path: "/oauth2/token", Field: "access_token", Forbidden: http.StatusUnauthorized}, TakesBasic: true, Missing: noSuchRepo,
		Tags: Pages{Usual: 100, Most: 1000, Clips: true, Link: linkByLast}, Storage: "weumanaged1.blob.core.windows.net", Limit: tooMany,
	}, {
		Name: "GitLab", Host: "registry.gitlab.com", Challenge: []string{realm("https://gitlab.com/jwt/auth", "container_registry")},
		Token: Tokens{Host: "gitlab.com", Path: "/jwt/auth", Field: "token", Forbidden: http.StatusForbidden}, Missing: noSuchRepo,
		Tags: Pages{Usual: 100, Most: 1000, Link: linkByLast}, Storage: "cdn.registry.gitlab-static.net", Referrers: noSuchPath, DigestTags: true, Limit: Says{Status: http.StatusTooManyRequests, Body: "Retry later\n", Header: http.Header{"Retry-After": {"60"}}},
	}, {
		Name: "Artifactory, subdomain", Host: "docker-local.art.example.com", Challenge: []string{`Basic realm="Artifactory Realm"`, realm("https://docker-local.art.example.com/artifactory/api/docker/docker-local/v2/token", "docker-local.art.example.com")},
		Token: Tokens{Host: "docker-local.art.example.com", Path: "/artifactory/api/docker/docker-local/v2/token", Field: "token", Seconds: 3600}, TakesBasic: true,
		Missing: noSuchRepo, Forbidden: notForYou, Tags: Pages{Link: linkByLast}, Referrers: Says{Status: http.StatusNotAcceptable, Code: "UNSUPPORTED"}, Limit: tooMany,
	}, {
		Name: "Artifactory, path", Host: "art.example.com", Path: "/artifactory/api/docker/docker-local", Challenge: []string{`Basic realm="Artifactory Realm"`},
		TakesBasic: true, OpenRepos: true, Missing: noSuchRepo, Tags: Pages{Link: linkByLast}, Referrers: Says{Status: http.StatusNotAcceptable, Code: "UNSUPPORTED"}, Limit: tooMany,
	}, {
		Name: "Nexus", Host: "nexus.example.com", Path: "/repository/docker-hosted", Challenge: []string{`Basic realm="Sonatype Nexus Repository Manager"`}, TakesBasic: true, OpenRepos: true,
		Missing: noSuchRepo, Tags: Pages{Most: 10000, Clips: true, Link: linkAbsolute}, Referrers: Says{Status: http.StatusNotFound, Body: "<html>not found</html>", Header: http.Header{"Content-Type": {"text/html"}}},
		NoHead: http.StatusNotFound, Limit: tooMany,
	}, {
		Name: "Gitea", Host: "gitea.example.com", Challenge: []string{`Bearer realm="https://gitea.example.com/v2/token",service="container_registry",scope="*"`, `Basic realm="https://gitea.example.com/v2",service="container_registry",scope="*"`},
		Token: Tokens{Host: "gitea.example.com", Path: "/v2/token", Field: "token", Wide: true}, TakesBasic: true, Missing: noSuchRepo, Tags: Pages{Link: linkByLast}, Referrers: noSuchPath, Limit: tooMany,
	}, {
		Name: "Forgejo", Host: "codeberg.org", Challenge: []string{`Bearer realm="https://codeberg.org/v2/token",service="container_registry",scope="*"`, `Basic realm="https://codeberg.org/v2",service="container_registry",scope="*"`},
		Token: Tokens{Host: "codeberg.org", Path: "/v2/token", Field: "token", Wide: true}, TakesBasic: true, Missing: noSuchRepo, Tags: Pages{Usual: 50, Most: 50, Clips: true, Link: linkByLast}, Referrers: noSuchPath, Limit: tooMany,
	}, {
		Name: "Quay", Host: "quay.example.com", Challenge: []string{realm("https://quay.example.com/v2/auth", "quay.example.com")}, OpenRepos: true,
		Token: Tokens{Host: "quay.example.com", Path: "/v2/auth", Field: "token"}, Tags: Pages{Usual: 100, Most: 100, Clips: true, Link: linkOpaque}, Limit: tooMany,
	}, {
		Name: "zot", Host: "zot.example.com", Challenge: []string{`Basic realm="Authorization Required"`}, TakesBasic: true, OpenRoot: true, OpenRepos: true, Missing: noSuchRepo, Tags: Pages{Link: linkByLast}, Limit: tooMany,
	}, {
		Name: "distribution 2.8", Host: "reg2.example.com", Challenge: []string{`Basic realm="Registry Realm"`}, TakesBasic: true, Private: true, Missing: noSuchRepo, Tags: Pages{Ignored: true}, Referrers: noSuchPath, Limit: tooMany,
	}, {
		Name: "distribution 3", Host: "reg3.example.com", Missing: noSuchRepo, Tags: Pages{Most: 100, Link: linkByLast}, Referrers: noSuchPath, Limit: tooMany,
	},
}
