package conformance

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// gap is a proxy that lets nothing through: what a program asks for beyond
// loopback ends here.
type gap struct {
	addr  string
	tries atomic.Int64
}

func newGap(t *testing.T) *gap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	g := &gap{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.tries.Add(1)
			conn.Close()
		}
	}()
	return g
}

// skopeo runs the program behind the gap, with a registries.conf and no
// credentials.
func (g *gap) skopeo(t *testing.T, conf string, args ...string) (stdout []byte, err error) {
	t.Helper()
	home := t.TempDir()
	args = append([]string{"--registries-conf", conf}, args...)
	cmd := exec.CommandContext(t.Context(), ocitest.Program(t, "skopeo"), args...)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + home,
		"HTTPS_PROXY=http://" + g.addr, "HTTP_PROXY=http://" + g.addr,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err = cmd.Output()
	if err != nil {
		t.Logf("skopeo %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return stdout, err
}

// TestSkopeoPullsWithoutInternet lets another program than this one pull, with
// the names of the internet and the registries.conf of the cluster's nodes.
func TestSkopeoPullsWithoutInternet(t *testing.T) {
	n, f, g := newNear(t), newFar(t, "/mirror"), newGap(t)
	release := n.releases[1]
	const tagged = "quay.io/example/attested:v1"
	carry(t, n, f, bundle.Request{
		Releases: []oci.Reference{parse(t, release.Reference)},
		Images:   []oci.Reference{parse(t, tagged)},
	})
	conf := f.cluster(t).Conf
	payload := "quay.io/openshift-release-dev/ocp-release@" + release.Descriptor.Digest.String()
	for ref, want := range map[string]digest.Digest{
		payload: release.Descriptor.Digest, release.Images["etcd"]: release.Components["etcd"], tagged: n.images[tagged],
	} {
		raw, err := g.skopeo(t, conf, "inspect", "--raw", "docker://"+ref)
		if err != nil || digest.FromBytes(raw) != want {
			t.Errorf("inspect %s: %v: %.100q", ref, err, raw)
		}
		if _, err := g.skopeo(t, conf, "copy", "--insecure-policy", "--all", "docker://"+ref, "dir:"+t.TempDir()); err != nil {
			t.Errorf("copy %s: %v", ref, err)
		}
	}
	if n := g.tries.Load(); n > 0 {
		t.Errorf("the internet was asked %d times", n)
	}
	g.expectNothing(t, conf, "docker://"+release.Reference) // no one pulls a release by tag
	g.expectNothing(t, "/dev/null", "docker://"+payload)
}

// expectNothing shows that the gap holds: what no mirror has is asked for in
// vain.
func (g *gap) expectNothing(t *testing.T, conf, image string) {
	t.Helper()
	before := g.tries.Load()
	args := []string{"inspect", "--raw", image}
	if raw, err := g.skopeo(t, conf, args...); err == nil || g.tries.Load() == before {
		t.Errorf("skopeo %s got %.100q past the gap (%v)", strings.Join(args, " "), raw, err)
	}
}
