package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci/ocitest"
)

const repository = "ocp/release" // of all images of a contest

// works are what is carried: images under tags of one repository.
var works = map[string]struct {
	title  string
	fill   func(*ocitest.Builder) []string // gives the tags
	skopeo bool                            // takes part: of small blobs it takes more than a minute a round
}{
	"release": {"A release: 60 images over two shared bases, 1.3 GB", fillRelease, true},
	"small":   {"Small blobs: 60 images with 4,000 layers of 8 KiB", fillSmall, false},
	"many":    {"Many images: 190 of three small layers", fillMany, false},
}

// fill puts the images of a work into the registry at host and prints their
// references. It is a process of its own, since it takes memory, and the peak of a
// process counts what its parent had.
func fill(work, host string) error {
	b := ocitest.NewBuilder(host)
	for _, tag := range works[work].fill(b) {
		fmt.Printf("%s/%s:%s\n", host, repository, tag)
	}
	return b.Err()
}

func fillRelease(b *ocitest.Builder) []string {
	var names []string
	for i := range 59 {
		names = append(names, fmt.Sprintf("component-%02d", i))
	}
	r := b.Release(ocitest.ReleaseOpts{
		Components: names, LayerSize: 20 << 20, PayloadRepo: repository, ComponentRepo: repository,
	})
	tags := []string{"4.17.3-x86_64"}
	for name, d := range r.Components {
		mediaType, raw := b.Manifest(repository, d.String())
		b.Raw(repository, name, mediaType, raw)
		tags = append(tags, name)
	}
	slices.Sort(tags)
	return tags
}

func fillSmall(b *ocitest.Builder) []string { return fillImages(b, 60, 67) }

func fillMany(b *ocitest.Builder) []string { return fillImages(b, 190, 3) }

// fillImages makes images with layers of 8 KiB.
func fillImages(b *ocitest.Builder, images, layers int) []string {
	var tags []string
	for i := range images {
		o := ocitest.ImageOpts{Arch: "amd64"}
		for j := range layers {
			o.Layers = append(o.Layers, b.RandomLayer(repository, fmt.Sprintf("small %d %d", i, j), 8<<10))
		}
		tag := "image-" + strconv.Itoa(i)
		b.Image(repository, tag, o)
		tags = append(tags, tag)
	}
	return tags
}

// blob is one of the floor's plan: all of it stands in one file, in this order.
type blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// carriage is a contest with its registries and places.
type carriage struct {
	*bench
	source, target *registry
	skopeo         bool   // takes part
	images         string // a file of the references
	references     []string
	medium         string
	plan           string // the floor's
	payload        int64  // bytes of all blobs
}

// carry measures steps of the way of a work.
func (b *bench) carry(work string, steps ...func(*carriage) error) (err error) {
	c, err := b.ready(work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.clear()) }()
	b.printf("\n## %s\n", works[work].title)
	for _, step := range steps {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

// ready starts the registries of a work and fills the source.
func (b *bench) ready(work string) (*carriage, error) {
	c := &carriage{bench: b, skopeo: works[work].skopeo, images: b.path("images.txt"), medium: b.path("medium"), plan: b.path("plan.json")}
	var err error
	if c.source, err = b.registry("source"); err != nil {
		return nil, err
	}
	if c.target, err = b.registry("target"); err != nil {
		return nil, errors.Join(err, c.clear())
	}
	references, err := exec.CommandContext(b.ctx, b.self, "fill", work, c.source.host).Output()
	if err == nil {
		err = os.WriteFile(c.images, references, 0o644)
	}
	if err != nil {
		return nil, errors.Join(err, c.clear())
	}
	c.references = strings.Fields(string(references))
	return c, nil
}

// clear stops the registries and removes what they had.
func (c *carriage) clear() error {
	var failed []error
	for _, r := range []*registry{c.source, c.target} {
		if r != nil {
			r.stop()
			failed = append(failed, os.RemoveAll(r.root))
		}
	}
	return errors.Join(failed...)
}

func (c *carriage) export() task {
	return task{
		program: "airlift export",
		args:    []string{c.airlift, "export", "--images-file", c.images, "--insecure-registry", c.source.host, "--key", c.key, "--output", c.medium},
		before:  func() error { return os.RemoveAll(c.medium) },
	}
}

// exports compares export with its peers and the floor. The first export makes
// the floor's plan.
func (c *carriage) exports() error {
	if _, err := c.measure(c.export()); err != nil {
		return err
	}
	if err := c.writePlan(); err != nil {
		return err
	}
	layout := c.path("layout")
	fresh := func(dir string) func() error {
		return func() error { return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)) }
	}
	regsync, err := c.regsync("export", c.source.host+"/"+repository, "ocidir://"+layout, c.source.host)
	if err != nil {
		return err
	}
	regsync.before, regsync.sync = fresh(layout), true
	floor := task{
		program: "floor", args: []string{c.self, "floor-export", c.source.host, repository, c.plan, c.path("floor.bin")},
		before: func() error { return os.RemoveAll(c.path("floor.bin")) },
	}
	regsync.program = "regsync once, then sync"
	craned := c.path("craned")
	tasks := []task{c.export(), floor, regsync, {
		program: "crane pull --format oci, then sync",
		args:    append([]string{filepath.Join(c.peers, "crane"), "pull", "--insecure", "--format", "oci"}, append(c.references, craned)...),
		before:  fresh(craned), sync: true,
	}}
	if copied := c.path("copied"); c.skopeo {
		tasks = append(tasks, task{
			program: "skopeo sync, then sync",
			args:    []string{"skopeo", "sync", "--all", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", c.source.host + "/" + repository, copied},
			before:  fresh(copied), sync: true,
		})
	}
	results, err := c.contest(tasks)
	if err != nil {
		return err
	}
	c.table("Export: sealed, signed and synced", c.payload, results)
	read, err := c.counted(c.source, func(host string) task { return c.through(c.export(), host) })
	if err != nil {
		return err
	}
	payload := float64(c.payload)
	written := float64(median(results[0], func(f figures) int64 { return f.written }))
	c.printf("\n%d bytes of blobs. Read from the network: %.4f × that. The bundle: %.4f ×; written to the disk: %.4f × the bundle.\n",
		c.payload, float64(read.blobs)/payload, float64(sizeOf(c.medium))/payload, written/float64(sizeOf(c.medium)))
	return os.RemoveAll(craned)
}

// verifies compares verify with sha256sum; both read what the system has in memory.
func (c *carriage) verifies() error {
	results, err := c.contest([]task{
		{program: "airlift verify", args: []string{c.airlift, "verify", "--trusted-key", c.public(), c.medium}},
		{program: "sha256sum -c", args: []string{"sha256sum", "--quiet", "-c", "SHA256SUMS"}, dir: c.medium},
	})
	if err == nil {
		c.table("Verify, from the page cache", c.payload, results)
	}
	return err
}

func (c *carriage) public() string { return c.path("bench.pub") }

func (c *carriage) importing() task {
	return task{
		program: "airlift import",
		args: []string{c.airlift, "import", c.medium, "--trusted-key", c.public(), "--to", c.target.host, "--cluster-registry", "registry.plant.example",
			"--insecure-registry", c.target.host, "--manifests", c.path("manifests"), "--no-check"},
		before: func() error { return errors.Join(os.RemoveAll(c.path("manifests")), c.target.empty()) },
	}
}

func (c *carriage) imports() error {
	to := c.target.host + "/" + repository
	regsync, err := c.regsync("import", "ocidir://"+c.path("layout"), to, c.target.host)
	if err != nil {
		return err
	}
	regsync.program, regsync.before = "regsync once", c.target.empty
	floor := task{program: "floor", args: []string{c.self, "floor-import", c.target.host, repository, c.plan, c.path("floor.bin")}, before: c.target.empty}
	tasks := []task{c.importing(), floor, regsync}
	if c.skopeo {
		tasks = append(tasks, task{
			program: "skopeo sync",
			args:    []string{"skopeo", "sync", "--all", "--dest-tls-verify=false", "--src", "dir", "--dest", "docker", c.path("copied"), c.target.host},
			before:  c.target.empty,
		})
	}
	results, err := c.contest(tasks)
	if err == nil {
		c.table("Import into an empty registry", c.payload, results)
	}
	return err
}

// again measures the import of what is there.
func (c *carriage) again() error {
	if _, err := c.measure(c.importing()); err != nil {
		return err
	}
	once := c.importing()
	once.before, once.program = nil, "airlift import, again"
	checked := once
	checked.args, checked.program = once.args[:len(once.args)-1], "airlift import, again, with its check"
	results, err := c.contest([]task{once, checked})
	if err == nil {
		c.table("Import of what is there", c.payload, results)
	}
	return err
}

// writePlan makes the floor's plan of the bundle's inventory.
func (c *carriage) writePlan() error {
	data, err := os.ReadFile(filepath.Join(c.medium, "bundle.json"))
	if err != nil {
		return err
	}
	var inventory struct {
		Content struct {
			Blobs []blob `json:"blobs"`
		} `json:"content"`
	}
	if err := json.Unmarshal(data, &inventory); err != nil {
		return err
	}
	c.payload = 0
	for _, b := range inventory.Content.Blobs {
		c.payload += b.Size
	}
	data, err = json.Marshal(inventory.Content.Blobs)
	if err != nil {
		return err
	}
	return os.WriteFile(c.plan, data, 0o644)
}

// sizeOf sums the files of a directory, bytes.
func sizeOf(dir string) int64 {
	total := int64(0)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}
