package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"airlift/oci/ocitest"
)

// exfat makes a file system on a loop device: with it go read-write and read-only
// mounts, each until the next. Where that cannot be, the test is skipped.
func exfat(t *testing.T, size int64) (mount func(option string) (dir string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts exFAT")
	}
	for _, program := range []string{"losetup", "mkfs.exfat", "mount.exfat-fuse"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: make parts installs it where it can be had", program)
		}
	}
	image, dir := filepath.Join(t.TempDir(), "exfat"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	device := orSkip(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { orFail(t, "losetup", "--detach", device) })
	orSkip(t, "mkfs.exfat", device)
	mounted := false
	unmount := func() {
		if mounted {
			orFail(t, "umount", dir)
		}
		mounted = false
	}
	t.Cleanup(unmount)
	return func(option string) string {
		unmount()
		orSkip(t, "mount.exfat-fuse", "-o", option, device, dir)
		mounted = true
		return dir
	}
}

// orSkip runs a program of the system, which not every host lets do its work.
func orSkip(t *testing.T, name string, args ...string) (stdout string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Skipf("this host does not let %s %s: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func orFail(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v: %s", name, args, err, out)
	}
}

// TestExFAT: an export onto exFAT is killed and goes on; the medium is taken out
// and put in again read-only, verified and imported.
func TestExFAT(t *testing.T) {
	t.Parallel()
	mount := exfat(t, atLength[int64](96<<20, 1<<30))
	key, source := keyPair(t), ocitest.StartRegistry(t)
	b := source.Builder()
	var layers []ocispec.Descriptor
	for i := range atLength(6, 60) {
		layers = append(layers, b.RandomLayer("team/app", fmt.Sprint(i), 8_000_000))
	}
	image := b.Image("team/app", "v1", ocitest.ImageOpts{Layers: layers})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	var killed atomic.Bool
	asked := atomic.Int64{}
	proxy := ocitest.Misbehave(t, source.Host, func(r *http.Request) *ocitest.Fault {
		if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet && asked.Add(1) > 8 && !killed.Load() {
			return &ocitest.Fault{Delay: time.Hour}
		}
		return nil
	})
	medium := filepath.Join(mount("rw"), "bundle")
	args := exportFrom(proxy.Host, key, medium, "--image", "quay.io/team/app:v1", "--volume-size", "20MB", "--checkpoint", "1MB", "--read-back")
	killedWhen(t, args, func() bool { return recorded(t, medium) > 0 })
	killed.Store(true)
	airlift(t, args...).exits(t, 0)
	verified(t, key, medium)
	mount("ro")
	readOnly(t, key, medium)
	wantPullable(t, imported(t, key, medium), "team/app@"+image.Digest.String())
}

// TestMediaInEveryOrder: an export goes onto three media, each of which is full, and
// each is imported by itself, by a process of its own, in every order. The import
// is complete with the third, whichever that is.
func TestMediaInEveryOrder(t *testing.T) {
	t.Parallel()
	key := keyPair(t)
	media, images := threeMedia(t, key)
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			to := ocitest.StartRegistry(t)
			for i, medium := range order {
				complete := []int{exitAbsent, exitAbsent, exitComplete}[i]
				airlift(t, importTo(t, to.Host, key, media[medium])...).exits(t, complete)
			}
			wantPullable(t, to, images...)
		})
	}
}

// TestBlobOverTwoMedia: neither medium can bring a blob that begins on the one and
// ends on the other; both together can.
func TestBlobOverTwoMedia(t *testing.T) {
	t.Parallel()
	key, source := keyPair(t), embedded(t)
	b := ocitest.NewBuilder(source)
	image := b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/app", "one", atLength(3_000_000, 300_000_000))}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	at := room(t, atLength[uint64](20<<20, 1<<30))
	whole, media := filepath.Join(at, "whole"), []string{filepath.Join(at, "one"), filepath.Join(at, "two")}
	airlift(t, exportFrom(source, key, whole, "--image", "quay.io/team/app:v1", "--volume-size", atLength("600kB", "60MB"))...).exits(t, 0)
	for i, volumes := range []string{"1-3", "4-"} {
		airlift(t, exportFrom(source, key, media[i], "--from", filepath.Join(whole, "bundle.json"), "--volume", volumes)...).exits(t, 0)
	}
	to := ocitest.StartRegistry(t)
	airlift(t, importTo(t, to.Host, key, media[1])...).exits(t, exitAbsent)
	airlift(t, importTo(t, to.Host, key, media[0])...).exits(t, exitAbsent)
	airlift(t, importTo(t, to.Host, key, media...)...).exits(t, exitComplete)
	wantPullable(t, to, "team/app@"+image.Digest.String())
}

// threeMedia exports images that share layers onto three media, each as large as
// it has to be for two volumes. Without leave to mount they are directories, and
// each is asked for by its volumes.
func threeMedia(t *testing.T, key string) (media [3]string, images []string) {
	t.Helper()
	host, asked, images := sharing(t)
	if os.Getuid() != 0 {
		whole := t.TempDir()
		airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
		for i, volumes := range []string{"1-3", "4-5", "6-"} {
			media[i] = filepath.Join(t.TempDir(), "medium")
			airlift(t, exportFrom(host, key, media[i], "--from", filepath.Join(whole, "bundle.json"), "--volume", volumes)...).exits(t, 0)
		}
		return media, images
	}
	media = smallMedia(t)
	airlift(t, exportFrom(host, key, media[0], onto(media, asked...)...)...).exits(t, 0)
	verified(t, key, media[:]...)
	return media, images
}

// sharing is a registry with images that share layers, the flags that ask for
// them in volumes of two layers, and what they are in a registry.
func sharing(t *testing.T) (host string, asked, images []string) {
	t.Helper()
	host = embedded(t)
	b := ocitest.NewBuilder(host)
	asked = []string{"--volume-size", "2.1MB"}
	for i, seeds := range []string{"abc", "de", "fgh", "ahi"} {
		repo := fmt.Sprint("team/app", i)
		var layers []ocispec.Descriptor
		for _, seed := range seeds {
			layers = append(layers, b.RandomLayer(repo, string(seed), 1_000_000))
		}
		images = append(images, repo+"@"+b.Image(repo, "v1", ocitest.ImageOpts{Layers: layers}).Digest.String())
		asked = append(asked, "--image", "quay.io/"+repo+":v1")
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return host, asked, images
}

// smallMedia have room for two volumes each.
func smallMedia(t *testing.T) (media [3]string) {
	t.Helper()
	for i := range media {
		media[i] = tmpfs(t, 5_000_000)
	}
	return media
}

// onto adds the media that follow the first.
func onto(media [3]string, what ...string) []string {
	return slices.Concat(what, []string{"--continue-on", media[1], "--continue-on", media[2]})
}

// TestKilledOverMedia: as TestKilledExport, from one medium to the next.
func TestKilledOverMedia(t *testing.T) {
	t.Parallel()
	host, asked, _ := sharing(t)
	key, whole, media := keyPair(t), smallMedia(t), smallMedia(t)
	began := time.Now()
	airlift(t, exportFrom(host, key, whole[0], onto(whole, asked...)...)...).exits(t, 0)
	took := time.Since(began)
	same := []string{"--from", filepath.Join(whole[0], "bundle.json"), "--volume", "1-", "--checkpoint", "64KB"}
	args := exportFrom(host, key, media[0], onto(media, same...)...)
	random, kills := rand.New(rand.NewPCG(2, 0)), 0
	for cycle := range atLength(20, 500) {
		for again := range 2 {
			began := time.Now()
			if killedAfter(t, args, time.Duration(random.Int64N(int64(took)))) {
				kills++
			} else if again == 0 {
				took = time.Since(began) // it is quicker now
			}
		}
		airlift(t, args...).exits(t, 0)
		for i := range media {
			if names := differ(t, whole[i], media[i]); names != nil {
				t.Fatalf("cycle %d: medium %d is not the same: %s", cycle, i+1, names)
			}
			emptied(t, media[i])
		}
	}
	t.Logf("%d kills", kills)
}

// emptied removes all that is in a directory.
func emptied(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadOnlyMedium is a medium that nobody can write to: not even a lock.
func TestReadOnlyMedium(t *testing.T) {
	t.Parallel()
	key, source := keyPair(t), embedded(t)
	b := ocitest.NewBuilder(source)
	image := b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/app", "one", 700_000)}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	dir := tmpfs(t, 8<<20)
	airlift(t, exportFrom(source, key, dir, "--image", "quay.io/team/app:v1")...).exits(t, 0)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	readOnly(t, key, dir)
	wantPullable(t, imported(t, key, dir), "team/app@"+image.Digest.String())
}

// tmpfs is a file system in memory of size bytes.
func tmpfs(t *testing.T, size int64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("this host mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// readOnly holds that a medium is read-only, and good.
func readOnly(t *testing.T, key, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "written"), nil, 0o600); err == nil {
		t.Fatalf("%s is writable", dir)
	}
	verified(t, key, dir)
}

// imported imports media, all at once, into a registry of its own.
func imported(t *testing.T, key string, media ...string) *ocitest.Registry {
	t.Helper()
	to := ocitest.StartRegistry(t)
	airlift(t, importTo(t, to.Host, key, media...)...).exits(t, 0)
	return to
}

// wantPullable pulls images, REPOSITORY@DIGEST, with the tool that others use.
func wantPullable(t *testing.T, from *ocitest.Registry, images ...string) {
	t.Helper()
	for _, image := range images {
		out, err := exec.Command(ocitest.Program(t, "skopeo"), "copy", "--quiet", "--src-tls-verify=false", "--all",
			"docker://"+from.Host+"/"+image, "dir:"+t.TempDir()).CombinedOutput()
		if err != nil {
			t.Errorf("pull %s: %v: %s", image, err, out)
		}
	}
}
