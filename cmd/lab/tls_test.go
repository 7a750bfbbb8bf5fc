package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/trial"
)

// tlsEdge is an edge with a certificate that a CA of the test's own has signed,
// as a company's is. It stands before the Harbor of the lab's first datacenter.
type tlsEdge struct {
	*fleetUnderTest
	host   string // as clients write it
	ca     string // the CA's certificate, alone in its directory
	config string
}

// TestTLS: each client logs in, pushes and pulls through an edge whose
// certificate it can believe only by the CA that it is told of.
func TestTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("an address that is not the loopback's needs root")
	}
	e := startTLSEdge(t)
	t.Run("docker", func(t *testing.T) { e.docker(t, "docker", trial.Client(t, "dockerd"), false) })
	t.Run("docker of today", func(t *testing.T) { e.docker(t, "docker-today", dockerdOfToday(t), true) })
	t.Run("podman", e.podman)
	t.Run("skopeo", e.skopeo)
	t.Run("crane", e.crane)
	t.Run("oras", e.oras)
	t.Run("helm", func(t *testing.T) { e.helm(t, "helm") })
	t.Run("helm4", func(t *testing.T) { e.helm(t, "helm4") })
	t.Run("cosign", e.cosign)
	t.Run("regctl", e.regctl)
	t.Run("containerd", e.containerd)
}

func startTLSEdge(t *testing.T) *tlsEdge {
	t.Helper()
	e := &tlsEdge{fleetUnderTest: startLab(t), ca: filepath.Join(t.TempDir(), "ca.crt")}
	d, home, address := e.Datacenters[0], t.TempDir(), ownAddress(t)
	certificate, key := filepath.Join(home, "tls.crt"), filepath.Join(home, "tls.key")
	writeCertificates(t, address, e.ca, certificate, key)
	text, err := os.ReadFile(d.Fleet)
	if err != nil {
		t.Fatal(err)
	}
	own := func(url string) string { return fmt.Sprintf(": %q", strings.TrimPrefix(url, "http://")) }
	e.config = filepath.Join(home, "fleet.yaml")
	err = os.WriteFile(e.config, []byte(strings.NewReplacer(
		"plain_http: true", fmt.Sprintf("tls: { certificate: %q, key: %q }", certificate, key),
		own(d.Edge), fmt.Sprintf(": %q", address+":0"),
		own(d.Metrics), `: "127.0.0.1:0"`,
		own(d.Admin), `: "127.0.0.1:0"`,
		filepath.Join(filepath.Dir(d.Fleet), "store"), filepath.Join(home, "store"),
	).Replace(string(text))), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, e.host = startEdge(t, bin(t, "breakwater"), e.config)
	return e
}

// ownAddress gives this machine an address that clients do not take for a
// loopback's: docker verifies no certificate in 127.0.0.0/8. 198.18.0.0/15 is for
// tests (RFC 2544), and TestDelegation has networks of its own in its first half.
func ownAddress(t *testing.T) string {
	t.Helper()
	ip := trial.Client(t, "ip")
	var text []byte
	for range 10 { // another run may have the address
		address := fmt.Sprintf("198.19.%d.%d", mathrand.IntN(256), 1+mathrand.IntN(254))
		var err error
		if text, err = exec.Command(ip, "address", "add", address+"/32", "dev", "lo").CombinedOutput(); err == nil {
			t.Cleanup(func() { exec.Command(ip, "address", "del", address+"/32", "dev", "lo").Run() })
			return address
		}
	}
	t.Fatalf("ip address add: %s", text)
	return ""
}

// writeCertificates makes a CA, and a certificate for the address that it signs.
func writeCertificates(t *testing.T, address, ca, certificate, key string) {
	t.Helper()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a company's CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "an edge"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(address)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	authorityKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serverKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	authorityDER, err1 := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	serverDER, err2 := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	keyDER, err3 := x509.MarshalPKCS8PrivateKey(serverKey)
	write := func(path, kind string, der []byte) error {
		return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	if err := errors.Join(err1, err2, err3, write(ca, "CERTIFICATE", authorityDER), write(certificate, "CERTIFICATE", serverDER), write(key, "PRIVATE KEY", keyDER)); err != nil {
		t.Fatal(err)
	}
}

// writer is a robot that may push to multi-dc-demo.
func (e *tlsEdge) writer() (name, secret string) { return e.Robots[1].Name, e.Robots[1].Secret }

// demo is the reference of something in multi-dc-demo, through the edge.
func (e *tlsEdge) demo(name string) string { return e.host + "/multi-dc-demo/" + name }

// held is the digest that Harbor itself has for the tag; "" where it has none.
func (e *tlsEdge) held(t *testing.T, repo, tag string) string {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, e.Datacenters[0].Harbor+"/v2/"+repo+"/manifests/"+tag, nil)
	req.SetBasicAuth(e.Admin.Username, e.Admin.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

// same wants the text to name the digest that Harbor has for the tag.
func (e *tlsEdge) same(t *testing.T, text, repo, tag string) {
	t.Helper()
	if digest := e.held(t, repo, tag); digest == "" || !strings.Contains(text, digest) {
		t.Errorf("Harbor has %q as %s:%s, and the client says\n%s", digest, repo, tag, text)
	}
}

// sameFile wants two files to be equal.
func sameFile(t *testing.T, a, b string) {
	t.Helper()
	first, err1 := os.ReadFile(a)
	second, err2 := os.ReadFile(b)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("%s and %s differ: %d and %d bytes", a, b, len(first), len(second))
	}
}

// believing makes a client of Go's believe this CA and no other.
func (e *tlsEdge) believing(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+e.ca, "SSL_CERT_DIR=/nonexistent")
	return cmd
}

const helloRepo = "cache-dockerhub/library/hello"

func (e *tlsEdge) docker(t *testing.T, pushed, daemon string, today bool) {
	run := dockerDaemon(t, t.TempDir(), daemon)
	hello := e.host + "/" + helloRepo + ":latest"
	if text := fails(t, run("pull", hello)); !strings.Contains(text, "x509") {
		t.Errorf("a certificate that nobody vouched for: %s", text)
	}
	certs := "/etc/docker/certs.d/" + e.host // where dockerd looks for it, and nowhere else
	t.Cleanup(func() { os.RemoveAll(certs) })
	ca, err := os.ReadFile(e.ca)
	if err := errors.Join(err, os.MkdirAll(certs, 0o755), os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644)); err != nil {
		t.Fatal(err)
	}
	output(t, run("pull", hello))
	name, secret := e.writer()
	fails(t, run("login", e.host, "-u", name, "-p", "wrong"))
	output(t, run("login", e.host, "-u", name, "-p", secret))
	ref := e.demo(pushed) + ":v1"
	output(t, run("tag", hello, ref))
	e.same(t, output(t, run("push", ref)), "multi-dc-demo/"+pushed, "v1")
	output(t, run("rmi", "-f", hello, ref))
	e.same(t, output(t, run("pull", ref)), "multi-dc-demo/"+pushed, "v1")
	if today { // Debian's docker inspects no manifest of OCI's type, and Debian's runc is too old for this daemon
		return
	}
	e.same(t, output(t, run("manifest", "inspect", "--verbose", ref)), "multi-dc-demo/"+pushed, "v1")
	if got := output(t, run("run", "--rm", "--network", "none", ref)); !strings.HasPrefix(got, "breakwater lab ") {
		t.Errorf("docker run of what was pushed printed %q", got)
	}
}

func (e *tlsEdge) podman(t *testing.T) {
	home := shortDir(t)
	run := podman(t, home)
	certs, ref := "--cert-dir="+filepath.Dir(e.ca), e.demo("podman")+":v1"
	name, secret := e.writer()
	if text := fails(t, run("login", e.host, "-u", name, "-p", secret)); !strings.Contains(text, "x509") {
		t.Errorf("without the CA: %s", text)
	}
	output(t, run("login", certs, e.host, "-u", name, "-p", secret))
	output(t, run("pull", certs, e.host+"/"+helloRepo))
	output(t, run("push", certs, "--digestfile", home+"/digest", e.host+"/"+helloRepo, ref))
	digest, err := os.ReadFile(filepath.Join(home, "digest"))
	if err != nil {
		t.Fatal(err)
	}
	e.same(t, string(digest), "multi-dc-demo/podman", "v1")
	output(t, run("pull", certs, e.demo("podman")+"@"+string(digest)))
}

func (e *tlsEdge) skopeo(t *testing.T) {
	skopeo, home := trial.Client(t, "skopeo"), t.TempDir()
	run := func(args ...string) string { return output(t, clientCommand(t, home, skopeo, args...)) }
	source, target := "--src-cert-dir="+filepath.Dir(e.ca), "--dest-cert-dir="+filepath.Dir(e.ca)
	name, secret := e.writer()
	run("login", "--cert-dir="+filepath.Dir(e.ca), e.host, "-u", name, "-p", secret)
	run("copy", "--all", "--digestfile", home+"/digest", source, target, "docker://"+e.host+"/cache-dockerhub/library/multi", "docker://"+e.demo("skopeo")+":v1")
	digest, err := os.ReadFile(home + "/digest")
	if err != nil {
		t.Fatal(err)
	}
	e.same(t, string(digest), "multi-dc-demo/skopeo", "v1")
	// All tags of a repo, by its list; and what sync has written is read back.
	const signed = "cache-dockerhub/library/signed"
	run("sync", "--preserve-digests", source, target, "--src", "docker", "--dest", "docker", e.host+"/"+signed, e.demo("synced"))
	e.same(t, e.held(t, signed, "latest"), "multi-dc-demo/synced/signed", "latest")
	run("sync", source, "--src", "docker", "--dest", "dir", e.demo("synced/signed"), home+"/tree")
	manifest, err := os.ReadFile(home + "/tree/signed:latest/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	e.same(t, fmt.Sprintf("sha256:%x", sha256.Sum256(manifest)), "multi-dc-demo/synced/signed", "latest")
	if !exists(home + "/tree/signed:" + strings.Replace(e.held(t, signed, "latest"), ":", "-", 1) + ".sig") {
		t.Error("the signature's tag was left out")
	}
}

func (e *tlsEdge) crane(t *testing.T) {
	crane, home := trial.Client(t, "crane"), t.TempDir()
	run := func(args ...string) string {
		return output(t, e.believing(clientCommand(t, home, crane, args...)))
	}
	if text := fails(t, clientCommand(t, home, crane, "digest", e.host+"/"+helloRepo)); !strings.Contains(text, "x509") {
		t.Errorf("without the CA: %s", text)
	}
	run("auth", "login", e.host, "-u", e.Admin.Username, "-p", e.Admin.Password)
	run("copy", e.host+"/cache-dockerhub/library/multi", e.demo("crane")+":v1")
	e.same(t, run("digest", e.demo("crane")+":v1"), "multi-dc-demo/crane", "v1")
	run("pull", e.host+"/cache-dockerhub/library/big", home+"/big.tar")
	run("push", home+"/big.tar", e.host+"/library/crane:big") // a plain project
	e.same(t, run("digest", e.host+"/library/crane:big"), "library/crane", "big")
	run("validate", "--remote", e.host+"/library/crane:big")
	run("tag", e.demo("crane")+":v1", "v2")
	if got := run("ls", e.demo("crane")); got != "v1\nv2\n" {
		t.Errorf("the tags are %q", got)
	}
	run("delete", e.demo("crane")+"@"+e.held(t, "multi-dc-demo/crane", "v1"))
	fails(t, e.believing(clientCommand(t, home, crane, "digest", e.demo("crane")+":v2")))
	if left := e.held(t, "multi-dc-demo/crane", "v1"); left != "" {
		t.Errorf("Harbor still has %s", left)
	}
}

func (e *tlsEdge) oras(t *testing.T) {
	oras, home := trial.Client(t, "oras"), t.TempDir()
	run := func(args ...string) string {
		return output(t, clientCommand(t, home, oras, append(args, "--ca-file", e.ca)...))
	}
	for name, text := range map[string]string{"report.txt": strings.Repeat("all is well\n", 1000), "sbom.json": `{"spdxVersion":"SPDX-2.3"}`} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name, secret := e.writer()
	run("login", e.host, "-u", name, "-p", secret)
	ref := e.demo("oras") + ":v1"
	e.same(t, run("push", ref, "report.txt:text/plain"), "multi-dc-demo/oras", "v1")
	run("attach", ref, "--artifact-type", "application/spdx+json", "sbom.json:application/spdx+json")
	var found struct {
		Referrers []struct{ Digest, ArtifactType string }
	}
	text := run("discover", "--format", "json", ref)
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found.Referrers) != 1 || found.Referrers[0].ArtifactType != "application/spdx+json" {
		t.Fatalf("%v: what refers to the artifact is %s", err, text)
	}
	run("pull", ref, "-o", home+"/out")
	run("pull", e.demo("oras")+"@"+found.Referrers[0].Digest, "-o", home+"/out")
	sameFile(t, home+"/report.txt", home+"/out/report.txt")
	sameFile(t, home+"/sbom.json", home+"/out/sbom.json")
}

func (e *tlsEdge) helm(t *testing.T, program string) {
	helm, home := trial.Client(t, program), t.TempDir()
	run := func(args ...string) string { return output(t, clientCommand(t, home, helm, args...)) }
	name, secret := e.writer()
	if text := fails(t, clientCommand(t, home, helm, "pull", "oci://"+e.host+"/"+e.Charts[0])); !strings.Contains(text, "x509") {
		t.Errorf("without the CA: %s", text)
	}
	run("registry", "login", e.host, "--ca-file", e.ca, "-u", name, "-p", secret)
	run("pull", "oci://"+e.host+"/"+e.Charts[0], "--ca-file", e.ca)
	pulled := t.TempDir()
	charts, chart := program+"-charts", "hello-"+chartVersion+".tgz"
	e.same(t, run("push", chart, "oci://"+e.demo(charts), "--ca-file", e.ca), "multi-dc-demo/"+charts+"/hello", chartVersion)
	run("pull", "oci://"+e.demo(charts)+"/hello", "--version", chartVersion, "--ca-file", e.ca, "-d", pulled)
	sameFile(t, filepath.Join(home, chart), filepath.Join(pulled, chart))
	if got := run("template", "x", "oci://"+e.demo(charts)+"/hello", "--version", chartVersion, "--ca-file", e.ca); !strings.Contains(got, "hello from the lab") {
		t.Error(got)
	}
}

// cosign signs and verifies with a key and without a transparency log, in both
// of its formats: a bundle that refers to the image, and a tag beside it.
func (e *tlsEdge) cosign(t *testing.T) {
	cosign, home := trial.Client(t, "cosign"), t.TempDir()
	run := func(args ...string) *exec.Cmd {
		cmd := clientCommand(t, home, cosign, args...)
		cmd.Env = append(cmd.Env, "COSIGN_PASSWORD=")
		return cmd
	}
	ca := "--registry-cacert=" + e.ca
	verify := []string{"verify", ca, "--insecure-ignore-tlog=true", "--key"}
	output(t, run(append(verify, e.PublicKey, e.host+"/cache-dockerhub/library/signed:latest")...))
	name, secret := e.writer()
	crane := func(args ...string) string {
		return output(t, e.believing(clientCommand(t, home, trial.Client(t, "crane"), args...)))
	}
	crane("auth", "login", e.host, "-u", name, "-p", secret)
	output(t, run("generate-key-pair"))
	for _, bundle := range []string{"true", "false"} {
		repo := "cosign-" + bundle
		crane("copy", e.host+"/cache-dockerhub/library/multi", e.demo(repo)+":v1")
		ref := e.demo(repo) + "@" + e.held(t, "multi-dc-demo/"+repo, "v1")
		fails(t, run(append(verify, "cosign.pub", ref)...))
		output(t, run("sign", ca, "--key", "cosign.key", "--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format="+bundle, "-y", ref))
		e.same(t, output(t, run(append(verify, "cosign.pub", ref)...)), "multi-dc-demo/"+repo, "v1")
		fails(t, run(append(verify, e.PublicKey, ref)...))
	}
}

func (e *tlsEdge) regctl(t *testing.T) {
	regctl, home := trial.Client(t, "regctl"), t.TempDir()
	run := func(args ...string) string { return output(t, clientCommand(t, home, regctl, args...)) }
	ca, err := os.ReadFile(e.ca)
	if err != nil {
		t.Fatal(err)
	}
	name, secret := e.writer()
	run("registry", "set", e.host, "--cacert", string(ca), "--skip-check")
	run("registry", "login", e.host, "-u", name, "-p", secret)
	run("image", "copy", "--digest-tags", "--referrers", e.demo("app")+":v1", e.demo("regctl")+":v1") // with its signature and SBOM
	e.same(t, e.held(t, "multi-dc-demo/app", "v1"), "multi-dc-demo/regctl", "v1")
	e.same(t, run("image", "digest", e.demo("regctl")+":v1"), "multi-dc-demo/regctl", "v1")
	if got := run("artifact", "list", e.demo("regctl")+":v1"); !strings.Contains(got, "spdx") {
		t.Errorf("the SBOM was not copied: %s", got)
	}
	if got := run("tag", "ls", e.demo("regctl")); !strings.Contains(got, "v1\n") {
		t.Errorf("the tags are %s", got)
	}
}

// containerd pulls an upstream's image by its own name with the files that
// breakwater hosts prints, and pushes to the edge by the edge's.
func (e *tlsEdge) containerd(t *testing.T) {
	home := t.TempDir()
	certs := filepath.Join(home, "certs.d")
	output(t, exec.Command(bin(t, "breakwater"), "hosts", "--config", e.config, "--url", "https://"+e.host, "--ca", e.ca, "--for", "containerd", "--out", certs))
	ctr := containerd(t, home)
	const hello = "docker.io/library/hello:latest"
	output(t, ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", certs, hello))
	name, secret := e.writer()
	ref := e.demo("containerd") + ":v1"
	output(t, ctr("images", "push", "--tlscacert", e.ca, "--user", name+":"+secret, ref, hello))
	e.same(t, e.held(t, helloRepo, "latest"), "multi-dc-demo/containerd", "v1")
	fails(t, ctr("images", "pull", "--snapshotter", "native", "--user", name+":"+secret, ref))
	output(t, ctr("images", "pull", "--snapshotter", "native", "--tlscacert", e.ca, "--user", name+":"+secret, ref))
	e.same(t, output(t, ctr("images", "ls")), "multi-dc-demo/containerd", "v1")
}
