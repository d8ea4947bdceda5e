package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
)

// asked waits for a question.
func (c *conversation) asked() {
	c.Helper()
	buffer := make([]byte, 1024)
	for !strings.HasSuffix(c.shown, "q ends here: ") {
		n, err := c.terminal.Read(buffer)
		if err != nil {
			c.Fatalf("shown %q, then %v", c.shown, err)
		}
		c.shown += string(buffer[:n])
	}
}

// reply waits for a question and answers it.
func (c *conversation) reply(typed string) {
	c.Helper()
	c.asked()
	if _, err := c.terminal.WriteString(typed); err != nil {
		c.Fatal(err)
	}
	c.shown += "\n"
}

// wantShown fails unless all texts were shown, in this order.
func (c *conversation) wantShown(texts ...string) {
	c.Helper()
	rest := c.shown
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			c.Fatalf("%q is not where it belongs in %q", text, c.shown)
		}
		rest = after
	}
}

// onThreeMedia writes a bundle of an image of three layers onto media one, two and
// three in a directory, with other, the medium of another bundle, and the key
// k.pub beside them. With cut the last layer is on both two and three.
func onThreeMedia(t *testing.T, cut bool) (dir string) {
	t.Helper()
	host, last := embedded(t), 6000
	if cut {
		last = 12_000
	}
	b := ocitest.NewBuilder(host)
	layers := []ocispec.Descriptor{b.RandomLayer("team/app", "one", 6000), b.RandomLayer("team/app", "two", 1000), b.RandomLayer("team/app", "three", last)}
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: layers})
	b.ZstdImage("team/other", "v1")
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	dir = t.TempDir()
	mustRun(t, dir, "keygen", "--output", "k")
	export := []string{"export", "--quiet", "--insecure-registry", host, "--key", "k.key"}
	image := append(export, "--image", host+"/team/app:v1", "--volume-size", "8192", "--output", "whole")
	mustRun(t, dir, image...)
	for medium, volumes := range map[string]string{"one": "2", "two": "3", "three": "4-"} {
		mustRun(t, dir, append(export, "--from", "whole/bundle.json", "--volume", volumes, "--output", medium)...)
	}
	mustRun(t, dir, append(export, "--image", host+"/team/other:v1", "--output", "other")...)
	return dir
}

func mustRun(t *testing.T, dir string, args ...string) {
	t.Helper()
	empty := ""
	withEnv(t, passphraseEnv, &empty)
	cmd := exec.Command("airlift", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", args, err, out)
	}
}

// swap puts a medium where the stick is.
func swap(t *testing.T, dir, medium string) {
	t.Helper()
	stick := filepath.Join(dir, "stick")
	if err := os.Remove(stick); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.Symlink(medium, stick); err != nil {
		t.Fatal(err)
	}
}

func tagsOf(t *testing.T, host string) string {
	t.Helper()
	b := ocitest.NewBuilder(host)
	tags := strings.Join(b.Tags("team/app"), " ")
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return tags
}

// TestAskedForMedia: one stick after the other comes at the same place, or
// elsewhere; what is not the right one is said, and asked for again.
func TestAskedForMedia(t *testing.T) {
	dir, host := onThreeMedia(t, false), ocitest.StartRegistry(t).Host
	swap(t, dir, "three")
	c := talk(t, dir, "import", "--trusted-key", "k.pub", "--to", host, "--insecure-registry", host, "--cluster-registry", "registry.example", "stick")
	c.reply("nowhere\n")
	c.reply("other\n")
	c.asked()
	c.wantShown("still to come: bundle.tar.002, bundle.tar.003", "[stick]", "no such file or directory", "[nowhere]", "other holds another bundle", "[other]")
	sums := filepath.Join(dir, "one", "SHA256SUMS")
	sealed, err := os.ReadFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sums, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	swap(t, dir, "one")
	c.reply("stick\n")
	c.asked()
	c.wantShown("stick/SHA256SUMS", "was changed", "still to come: bundle.tar.002, bundle.tar.003", "[stick]")
	if err := os.WriteFile(sums, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	c.reply("\n")
	c.asked()
	c.wantShown("still to come: bundle.tar.003", "[stick]")
	swap(t, dir, "two")
	c.reply("\n")
	if code := c.end(); code != exitComplete {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("1 image: 1 imported", "oc apply")
	if tags := tagsOf(t, host); tags != "v1" {
		t.Errorf("the tags are %q", tags)
	}
}

// TestNoMoreMedia: whoever has no more ends it as if there had been nobody to ask.
func TestNoMoreMedia(t *testing.T) {
	dir, host := onThreeMedia(t, false), ocitest.StartRegistry(t).Host
	for _, stop := range []string{"q\n", "\x04", "\x03"} {
		c := talk(t, dir, "import", "--trusted-key", "k.pub", "--to", host, "--insecure-registry", host, "--cluster-registry", "registry.example", "one")
		c.reply(stop)
		if code := c.end(); code != exitAbsent {
			t.Errorf("%q: code %d, shown %q", stop, code, c.shown)
		}
		c.wantShown("1 image: 1 skipped", "volumes absent, still to come: bundle.tar.003, bundle.tar.004")
		c = talk(t, dir, "verify", "--trusted-key", "k.pub", "one")
		c.reply(stop)
		if code := c.end(); code != exitAbsent || strings.Contains(c.shown, "every byte is as it should be") {
			t.Errorf("verify, %q: code %d, shown %q", stop, code, c.shown)
		}
	}
}

// TestAskedInOrder: a layer that is cut comes in its order, in one run.
func TestAskedInOrder(t *testing.T) {
	dir, host := onThreeMedia(t, true), ocitest.StartRegistry(t).Host
	c := talk(t, dir, "import", "--trusted-key", "k.pub", "--to", host, "--insecure-registry", host, "--cluster-registry", "registry.example", "one", "three")
	c.reply("two\n")
	c.wantShown("still to come: bundle.tar.003, bundle.tar.004; in this order: bundle.tar.003, bundle.tar.004")
	c.reply("three\n")
	c.wantShown("[three]", "still to come: bundle.tar.004; in this order: bundle.tar.003, bundle.tar.004", "[two]")
	if code := c.end(); code != exitComplete || tagsOf(t, host) != "v1" {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
}

// TestVerifyAsks: damage is said while its medium is at hand, and in the end.
func TestVerifyAsks(t *testing.T) {
	dir := onThreeMedia(t, false)
	swap(t, dir, "two")
	c := talk(t, dir, "verify", "--trusted-key", "k.pub", "stick")
	c.reply("one\n")
	c.reply("three\n")
	if code := c.end(); code != exitComplete {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("still to come: bundle.tar.002, bundle.tar.004", "still to come: bundle.tar.004", "every byte is as it should be")

	volume := filepath.Join(dir, "two", "bundle.tar.003")
	data, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	data[600] ^= 1
	if err := os.WriteFile(volume, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c = talk(t, dir, "verify", "--trusted-key", "k.pub", "two")
	c.reply("one\n")
	c.reply("other\n")
	c.reply("three\n")
	if code := c.end(); code != exitDamaged {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("two/bundle.tar.003: blob at byte 512", "still to come", "other holds another bundle", "q ends here: ", "two/bundle.tar.003: blob at byte 512", "hint: ")
}

// TestImportSaysDamage while its medium is at hand, and in the end if no good one
// came.
func TestImportSaysDamage(t *testing.T) {
	dir, host := onThreeMedia(t, false), ocitest.StartRegistry(t).Host
	volume := filepath.Join(dir, "one", "bundle.tar.002")
	data, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	data[600] ^= 1
	if err := os.WriteFile(volume, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c := talk(t, dir, "import", "--trusted-key", "k.pub", "--to", host, "--insecure-registry", host, "--cluster-registry", "registry.example", "one")
	c.asked()
	c.wantShown("one/bundle.tar.002: blob at byte 512", "still to come: bundle.tar.003, bundle.tar.004")
	c.reply("three\n")
	c.reply("two\n")
	c.reply("q\n")
	if code := c.end(); code != exitDamaged {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("still to come: bundle.tar.002\r\n", "q ends here: ", "1 image: 1 failed", "one/bundle.tar.002: blob at byte 512", "still to come: bundle.tar.002")
}
