package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/bcrypt"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// serving is airlift serve as a process that answers.
type serving struct {
	*exec.Cmd
	host   string   // HOST:PORT
	shown  []string // what it said of what it serves
	errors *strings.Builder
	ended  bool
}

var servingAt = regexp.MustCompile(`^serving .* at https?://(.*), until Ctrl-C$`)

// startServing serves until the test ends, and waits until what is served has been said.
func startServing(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{Cmd: exec.Command("airlift", slices.Concat([]string{"serve", "--listen", "127.0.0.1:0"}, args)...), errors: &strings.Builder{}}
	s.Stderr = s.errors
	out, err := s.StdoutPipe()
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	killIfStuck(t, s.Cmd)
	t.Cleanup(func() {
		if !s.ended {
			s.end(t, exitComplete)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.shown = append(s.shown, lines.Text())
		if at := servingAt.FindStringSubmatch(s.shown[0]); at != nil {
			s.host = at[1]
		}
		if strings.HasPrefix(lines.Text(), "signed by ") {
			return s
		}
	}
	_, s.ended = s.Wait(), true
	t.Fatalf("%v does not serve: %s", s.Args, s.errors)
	return nil
}

// end is Ctrl-C.
func (s *serving) end(t *testing.T, code int) {
	t.Helper()
	_ = s.Process.Signal(syscall.SIGINT)
	_, s.ended = s.Wait(), true // the code says how
	if got := s.ProcessState.ExitCode(); got != code {
		t.Errorf("%v ended with %v, want %d: %s", s.Args, s.ProcessState, code, s.errors)
	}
}

// says fails unless a line was said of what is served.
func (s *serving) says(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !slices.Contains(s.shown, line) {
			t.Errorf("it does not say %q: %q", line, s.shown)
		}
	}
}

// toServe writes a bundle of a release and an image with a layer of that many
// bytes, which ends with a code, and gives its directory, the flag that trusts it, the
// image and the layer.
func toServe(t *testing.T, size, code int, flags ...string) (dir, trust string, image, layer ocispec.Descriptor) {
	t.Helper()
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	layer = b.RandomLayer("team/app", "layer", size)
	image = b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer, b.RandomLayer("team/app", "small", 2000)}})
	release := b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	dir, key := filepath.Join(t.TempDir(), "medium"), keyPair(t)
	airlift(t, slices.Concat([]string{
		"export", "--quiet", "--insecure-registry", host, "--source-mirror", "quay.io=" + host, "--key", key + ".key", "--output", dir,
		"--image", "quay.io/team/app:v1", "--release", release.Reference,
	}, flags)...).exits(t, code)
	return dir, trusted(key), image, layer
}

// pull runs a program of containers' in a home of its own.
func pull(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), ocitest.Program(t, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + home}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// podman gives podman a place of its own for what it pulls.
func podman(t *testing.T) func(args ...string) (string, error) {
	dir := t.TempDir()
	return func(args ...string) (string, error) {
		return pull(t, "podman", slices.Concat([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args)...)
	}
}

// TestServePulled: skopeo, crane and podman pull from it, by the names that it says.
func TestServePulled(t *testing.T) {
	dir, trust, image, _ := toServe(t, 2_000_000, 0)
	for _, names := range []struct {
		prefix string
		flags  []string
	}{{"", nil}, {"quay.io/", []string{"--keep-source-host"}}} {
		s := startServing(t, slices.Concat(names.flags, []string{trust, "--verbose", dir})...)
		app := s.host + "/" + names.prefix + "team/app:v1"
		line := "  podman pull --tls-verify=false " + s.host + "/" + names.prefix + "openshift-release-dev/ocp-release:4.17.3-x86_64"
		s.says(t, "serving 4 images at http://"+s.host+", until Ctrl-C", line)

		if out, err := podman(t)(strings.Fields(line)[1:]...); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
		to := t.TempDir()
		if out, err := pull(t, "skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+app, "dir:"+to); err != nil {
			t.Errorf("skopeo: %v: %s", err, out)
		}
		raw, err := os.ReadFile(filepath.Join(to, "manifest.json"))
		if err != nil || digest.FromBytes(raw) != image.Digest {
			t.Errorf("skopeo: %v: %s", err, raw)
		}
		pulled, err := crane.Pull(app, crane.Insecure)
		if err == nil {
			err = crane.Save(pulled, app, filepath.Join(to, "saved.tar"))
		}
		if err != nil {
			t.Errorf("crane: %v", err)
		}
		tags, err := crane.ListTags(s.host+"/"+names.prefix+"team/app", crane.Insecure)
		if err != nil || strings.Join(tags, " ") != "v1" {
			t.Errorf("crane: %s, %v", tags, err)
		}
		s.end(t, exitComplete)
		if want := " GET /v2/" + names.prefix + "team/app/manifests/v1: 200, "; !strings.Contains(s.errors.String(), want) {
			t.Errorf("no line of %q: %s", want, s.errors)
		}
	}
}

// TestServeMirror: the objects for it are those of an import, and lead there from
// the original names.
func TestServeMirror(t *testing.T) {
	dir, trust, image, _ := toServe(t, 20_000, 0)
	s := startServing(t, "--keep-source-host", trust, dir)
	objects := t.TempDir()
	airlift(t, "manifests", trust, "--to", s.host, "--keep-source-host", "--insecure-registry", s.host, "--manifests", objects, dir).exits(t, 0)
	conf := filepath.Join(objects, "nodes/registries.conf")
	for _, name := range []string{"quay.io/team/app:v1", "quay.io/team/app@" + string(image.Digest)} {
		out, err := pull(t, "skopeo", "--registries-conf", conf, "inspect", "--raw", "--tls-verify=false", "docker://"+name)
		if err != nil || digest.FromString(out) != image.Digest {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	s.end(t, exitComplete)
	if s.errors.Len() > 0 && strings.Contains(s.errors.String(), "GET") {
		t.Errorf("requests are shown: %s", s.errors)
	}
}

// TestServeGuarded: over TLS, to users in a file alone.
func TestServeGuarded(t *testing.T) {
	dir, trust, image, _ := toServe(t, 2_000_000, 0)
	certs := ocitest.WriteCertificates(t, false)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, fmt.Appendf(nil, "# who may\n\nann:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServing(t, "--tls-cert", certs.CertFile, "--tls-key", certs.KeyFile, "--htpasswd", users, trust, dir)
	s.says(t, "serving 4 images at https://"+s.host+", until Ctrl-C", "  podman login "+s.host)
	app := s.host + "/team/app:v1"
	trusting := t.TempDir()
	if err := os.Link(certs.CAFile, filepath.Join(trusting, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	for creds, status := range map[string]string{"ann:secret": "", "ann:wrong": "unauthorized", "bob:secret": "unauthorized", "": "unauthorized"} {
		args := []string{"inspect", "--raw", "--cert-dir", trusting, "docker://" + app}
		if creds != "" {
			args = append(args, "--creds", creds)
		}
		out, err := pull(t, "skopeo", args...)
		switch {
		case status == "" && (err != nil || digest.FromString(out) != image.Digest):
			t.Errorf("skopeo as %q: %v: %s", creds, err, out)
		case status != "" && (err == nil || !strings.Contains(out, status) && !strings.Contains(out, "authentication required")):
			t.Errorf("skopeo as %q: %v: %s", creds, err, out)
		}
	}
	run := podman(t)
	if out, err := run("pull", "--cert-dir", trusting, "--creds", "ann:secret", app); err != nil {
		t.Errorf("podman: %v: %s", err, out)
	}
	if d, err := crane.Digest(app, crane.Insecure, crane.WithAuth(&authn.Basic{Username: "ann", Password: "secret"})); err != nil || d != string(image.Digest) {
		t.Errorf("crane: %s, %v", d, err)
	}
	// airlift is a client too.
	auth := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, auth, map[string][2]string{s.host: {"ann", "secret"}})
	airlift(t, "export", "--quiet", "--authfile", auth, "--ca-file", certs.CAFile, "--image", app, "--unsigned", "--output", t.TempDir()).exits(t, 0)
	airlift(t, "export", "--quiet", "--ca-file", certs.CAFile, "--image", app, "--unsigned", "--output", t.TempDir()).exits(t, 1)
}

// get gets a blob of team/app.
func (s *serving) get(t *testing.T, d digest.Digest) *http.Response {
	t.Helper()
	resp, err := http.Get("http://" + s.host + "/v2/team/app/blobs/" + string(d))
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// all reads a body.
func all(resp *http.Response) (digest.Digest, error) {
	defer resp.Body.Close()
	sum := digest.Canonical.Digester()
	_, err := io.Copy(sum.Hash(), resp.Body)
	return sum.Digest(), err
}

// TestServeEnds: Ctrl-C lets what is under way come to its end.
func TestServeEnds(t *testing.T) {
	dir, trust, _, layer := toServe(t, 20_000_000, 0)
	s := startServing(t, trust, dir)
	resp := s.get(t, layer.Digest) // more than what is on its way at once
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until nothing listens any more
		next, err := http.Get("http://" + s.host + "/v2/")
		if err != nil {
			break
		}
		next.Body.Close()
	}
	if got, err := all(resp); got != layer.Digest {
		t.Errorf("the answer under way: %s, %v", got, err)
	}
	_, s.ended = s.Wait(), true
	if code := s.ProcessState.ExitCode(); code != exitComplete || !strings.Contains(s.errors.String(), "airlift: ending: ") {
		t.Errorf("code %d: %s", code, s.errors)
	}
}

// TestServeExitCodes: the end tells what was served.
func TestServeExitCodes(t *testing.T) {
	dir, trust, _, layer := toServe(t, 2_000_000, exitMissing, "--volume-size", "2050000", "--image", "quay.io/team/none:v1", "--skip-missing")
	s := startServing(t, trust, dir)
	s.says(t, "serving 4 images at http://"+s.host+", until Ctrl-C", "skipped quay.io/team/none:v1: missing at the source: the registry answered 404")
	s.end(t, exitMissing)

	var volumes []string
	for _, e := range mustRead(t, dir) {
		if strings.HasPrefix(e, "bundle.tar.") {
			volumes = append(volumes, e)
		}
	}
	volume := filepath.Join(dir, volumes[1])
	data, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(volume, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = startServing(t, trust, dir)
	if got, err := all(s.get(t, layer.Digest)); err == nil || got == layer.Digest {
		t.Errorf("damaged, but %s came: %v", got, err)
	}
	s.end(t, exitDamaged)
	if want := "airlift: " + volume + ": blob at byte "; strings.Count(s.errors.String(), want) != 2 { // when it was found, and in the end
		t.Errorf("it does not say %q twice: %s", want, s.errors)
	}

	if err := os.Remove(volume); err != nil {
		t.Fatal(err)
	}
	refused := airlift(t, "serve", trust, "--listen", "127.0.0.1:0", dir)
	refused.exits(t, exitAbsent)
	for _, line := range []string{
		"airlift: a cluster that begins with a part of a release fails late: release 4.17.3 (x86_64) lacks 3 of its 3 images: the release itself, cli, cluster-version-operator: volumes absent, still to come: " + volumes[1] + "\n",
		"airlift: hint: give the directories of all media in one command; --partial serves what is at hand\n",
	} {
		if !strings.Contains(refused.out.String(), line) {
			t.Errorf("it does not say %q: %s", line, &refused.out)
		}
	}
	s = startServing(t, trust, "--partial", dir)
	if !slices.ContainsFunc(s.shown, func(line string) bool {
		return strings.HasPrefix(line, "skipped quay.io/team/app:v1: sha256:") && strings.HasSuffix(line, " is on "+volumes[1]+", which was not given")
	}) {
		t.Errorf("%q", s.shown)
	}
	resp := s.get(t, layer.Digest)
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != http.StatusNotFound || !strings.Contains(body.Errors[0].Message, volumes[1]) {
		t.Errorf("%d, %v, %v", resp.StatusCode, body, err)
	}
	resp.Body.Close()
	s.end(t, exitAbsent)
	warned := "airlift: warning: volumes absent, still to come: " + volumes[1] + ": the images that need it are answered with 404\nairlift: hint: give the directories of all media in one command\n"
	if !strings.HasPrefix(s.errors.String(), warned) {
		t.Errorf("it does not begin with %q: %s", warned, s.errors)
	}
}

func mustRead(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// serveHere serves in this process until the test ends, and gives what was said on stderr
// until then.
func serveHere(t *testing.T, s *site, registry http.Handler) (said func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = file
	s.address = "127.0.0.1:0"
	listener, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.run(ctx, listener, registry) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		os.Stderr = was
		file.Close()
	})
	return func() string {
		data, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

// connect connects to a site, with a small buffer for what comes.
func (s *site) connect(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err == nil {
		err = c.(*net.TCPConn).SetReadBuffer(32 << 10)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if s.tls != nil {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	return c
}

// slowReader waits before each piece.
type slowReader struct {
	io.Reader
	piece int
	pause time.Duration
}

func (r slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause)
	return r.Reader.Read(p[:min(len(p), r.piece)])
}

// TestServeStalled: who takes nothing of an answer is cut off, and the log says so; who
// takes it slowly gets all of it, though it lasts for many times the limit.
func TestServeStalled(t *testing.T) {
	const size = 5_000_000 // more than the kernel keeps of it
	blob := filepath.Join(t.TempDir(), "blob")
	want := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(want)
	if err := os.WriteFile(blob, want, 0o600); err != nil {
		t.Fatal(err)
	}
	certs := ocitest.WriteCertificates(t, false)
	config, err := tlsConfig(certs.CertFile, certs.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": config} {
		t.Run(name, func(t *testing.T) {
			s := &site{tls: config, verbose: true, limits: usualLimits}
			s.limits.stall = 500 * time.Millisecond
			ended := make(chan string, 2)
			said := serveHere(t, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { ended <- r.URL.Path }()
				f, err := os.Open(blob)
				if err != nil {
					panic(err)
				}
				defer f.Close()
				w.Header().Set("Content-Type", "application/octet-stream")
				http.ServeContent(w, r, "", time.Time{}, f)
			}))
			stalled, slow := s.connect(t), s.connect(t)
			fmt.Fprint(stalled, "GET /stalled HTTP/1.1\r\nHost: x\r\n\r\n")
			fmt.Fprint(slow, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			begun := time.Now()
			resp, err := http.ReadResponse(bufio.NewReader(slowReader{slow, 20_000, 15 * time.Millisecond}), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := all(resp); err != nil || got != digest.FromBytes(want) {
				t.Errorf("slowly came %s, %v", got, err)
			}
			if took := time.Since(begun); took < 6*s.limits.stall {
				t.Errorf("it took only %s", took)
			}
			for range 2 {
				select {
				case <-ended:
				case <-time.After(20 * time.Second):
					t.Fatal("an answer does not end")
				}
			}
			lines := regexp.MustCompile(`GET /(\w+): 200, \d+ bytes(.*)`)
			for deadline := time.Now().Add(10 * time.Second); len(lines.FindAllString(said(), -1)) < 2 && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			ends := map[string]string{}
			for _, line := range lines.FindAllStringSubmatch(said(), -1) {
				ends[line[1]] = line[2]
			}
			if diff := gocmp.Diff(map[string]string{"stalled": ", cut off: nothing was taken for 500ms", "slow": ""}, ends); diff != "" {
				t.Errorf("%s\n%s", diff, said())
			}
		})
	}
}

// TestServeAsked: who does not come to the end of what he asks, or asks no more, does not
// keep a connection; nor does who is no user.
func TestServeAsked(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, err := oci.ParseUsers(fmt.Appendf(nil, "ann:%s", hash))
	if err != nil {
		t.Fatal(err)
	}
	short := limits{header: 200 * time.Millisecond, body: 200 * time.Millisecond, idle: 200 * time.Millisecond, stall: time.Minute, end: time.Second}
	s := &site{users: users, limits: short}
	serveHere(t, s, &oci.Registry{})
	for what, asked := range map[string]struct{ text, answer string }{
		"nothing":       {"", ""},
		"half a header": {"GET /v2/ HTTP/1.1\r\nHost: x\r\n", ""},
		"no more":       {"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", "401 Unauthorized"},
		"half a body":   {"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", "401 Unauthorized"},
	} {
		c := s.connect(t)
		fmt.Fprint(c, asked.text)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(answer), asked.answer) {
			t.Errorf("who asks %s keeps the connection: %v, %q", what, err, answer)
		}
	}
}
