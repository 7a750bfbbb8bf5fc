package proxy_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"example.org/breakwater/internal/lab"
	"example.org/breakwater/proxy"
	"example.org/breakwater/proxy/access"
	"example.org/breakwater/registry"
)

// A project is deleted and made again, and the edge's robot is not granted the new one: the
// edge is shown neither. The new one's robot asks for what the edge holds of the old one.
func TestAProjectThatIsNotGrantedAgainHasNothingOfTheOld(t *testing.T) {
	s := newSite(t)
	s.harbor.CreateSystemRobot("few", secret)
	s.grantFew(t)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, asFew)
	img := image(t, 10<<10, 9)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	blob, layer := layerOf(t, img)
	h := s.as(t, reader, "multi-dc-demo/app")
	raw, _ := img.RawManifest()
	same(t, "before", s.do(t, http.MethodGet, manifests("multi-dc-demo/app"), h), raw)
	same(t, "before", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), layer)
	s.madeAgain(t)
	eve := s.as(t, eve, "multi-dc-demo/app")
	ask := func(what, rest string) {
		t.Helper()
		before := len(front.of(""))
		judged(t, "a project made again, not granted to the edge: "+what, s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/"+rest, eve), front.reached(before, ""))
	}
	ask("its tag, held here", "manifests/v1")
	ask("the tag's digest, held here", "manifests/"+digestOf(t, img))
	if err := s.harbor.SetFaults(lab.Fault{Name: "500", Path: "/v2/multi-dc-demo/"}); err != nil {
		t.Fatal(err)
	}
	ask("a blob, held here, while Harbor cannot say", "blobs/"+blob)
	ask("its tag, held here, while Harbor cannot say", "manifests/v1")
}

// A robot is disabled in Harbor, and goes on with the password that was good a moment ago.
func TestADisabledRobotIsRefused(t *testing.T) {
	s := newSite(t)
	front := watch(t, s, nil)
	var passed atomic.Int64
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey, func(a *access.Config, p *proxy.Config, _ *registry.SourceConfig) {
		a.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
		p.Now = a.Now
	})
	img := image(t, 10<<10, 9)
	mustPush(t, s.harbor.URL(), "multi-dc-demo/app:v1", img, s.admin())
	blob, layer := layerOf(t, img)
	h := map[string]string{"Authorization": basicHeader(reader, secret)}
	same(t, "before", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), layer)
	if err := s.harbor.DisableRobot(reader); err != nil {
		t.Fatal(err)
	}
	passed.Store(int64(15 * time.Second))
	before := len(front.of(""))
	judged(t, "a robot that was disabled a quarter of a minute ago: a blob, held here", s.do(t, http.MethodGet, "/v2/multi-dc-demo/app/blobs/"+blob, h), front.reached(before, ""))
}

// Harbor's database is dead: Harbor calls right passwords wrong, and says where the database is.
func TestADeadDatabaseIsNoWrongPassword(t *testing.T) {
	s := newSite(t)
	front := watch(t, s, nil)
	s.edge = startEdge(t, front.URL, t.TempDir(), &s.harbor.Key().PublicKey)
	if err := s.harbor.SetFaults(lab.Fault{Name: "db-down"}); err != nil {
		t.Fatal(err)
	}
	admin, before := map[string]string{"Authorization": s.asAdmin()}, len(front.of(""))
	pull := s.do(t, http.MethodGet, manifests("plain/app"), admin)
	judged(t, "Harbor's database is dead: a right password, at a plain project", pull, front.reached(before, ""))
	s.comeAgain(t, "a pull", pull)
	s.comeAgain(t, "a login", s.do(t, http.MethodGet, "/v2/", admin))
}
