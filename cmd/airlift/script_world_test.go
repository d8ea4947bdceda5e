package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// world is what a script runs against: registries, what it pushed to them, and
// proxies before them.
type world struct {
	t        testing.TB
	builders map[string]*ocitest.Builder // by the registry's host
	releases map[string]ocitest.Release  // by the script's name for them
	proxies  map[string]*ocitest.Proxy   // likewise
	forwards map[string]*ocitest.Forward // likewise
}

type worldKey struct{}

func newWorld(t testing.TB) *world {
	return &world{t, map[string]*ocitest.Builder{}, map[string]ocitest.Release{}, map[string]*ocitest.Proxy{}, map[string]*ocitest.Forward{}}
}

// inWorld makes a script's command of a method that takes the words after it.
// What it is for must happen: it cannot be negated.
func inWorld(method func(*world, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		method(ts.Value(worldKey{}).(*world), ts, args)
	}
}

// words takes the first n words, and the rest.
func words(ts *testscript.TestScript, args []string, n int) (first, rest []string) {
	if len(args) < n {
		ts.Fatalf("%d words where at least %d belong", len(args), n)
	}
	return args[:n], args[n:]
}

func (w *world) builder(ts *testscript.TestScript, host string) *ocitest.Builder {
	b := w.builders[host]
	if b == nil {
		ts.Fatalf("%s is no registry of this script", host)
	}
	return b
}

func (w *world) registry(ts *testscript.TestScript, args []string) {
	name, args := words(ts, args, 1)
	var opts ocitest.RegistryOptions
	for _, arg := range args {
		user, password, isUser := strings.Cut(arg, ":")
		switch {
		case isUser && opts.User != "":
			opts.Others = map[string]string{user: password}
		case isUser:
			opts.User, opts.Password = user, password
		case arg == "memory":
			w.memory(ts, name[0])
			return
		case strings.HasPrefix(arg, "as="):
			opts.Names = append(opts.Names, strings.TrimPrefix(arg, "as="))
		case arg == "clients":
			opts.TLS, opts.Clients = true, true
		case arg == "expired":
			opts.TLS, opts.Expired = true, true
		case arg == "sparse":
			opts.Sparse = true
		case arg == "tls" || arg == "nosan":
			opts.TLS, opts.NoSAN = true, arg == "nosan"
		default:
			ts.Fatalf("registry: unknown word %s", arg)
		}
	}
	started := ocitest.StartRegistryWith(w.t, opts)
	w.builders[started.Host] = started.Builder()
	ts.Setenv(name[0], started.Host)
	ts.Setenv(name[0]+"_CA", started.CAFile)
	ts.Setenv(name[0]+"_CERT", started.CertFile)
	ts.Setenv(name[0]+"_KEY", started.KeyFile)
	ts.Setenv(name[0]+"_AUTH", started.Authfile)
	ts.Setenv(name[0]+"_ROOT", started.Root)
}

// tokens starts a registry with tokens before one without.
func (w *world) tokens(ts *testscript.TestScript, args []string) {
	first, rest := words(ts, args, 2)
	users := map[string]ocitest.TokenUser{}
	for _, arg := range rest {
		parts, _ := words(ts, strings.Split(arg, ":"), 3)
		users[parts[0]] = ocitest.TokenUser{Password: parts[1], Actions: strings.Split(parts[2], ",")}
	}
	ts.Setenv(first[0], ocitest.StartTokens(w.t, first[1], users))
}

// memory starts a registry that takes images without their layers.
func (w *world) memory(ts *testscript.TestScript, name string) {
	host, stop, err := ocitest.Embedded()
	ts.Check(err)
	w.t.Cleanup(stop)
	w.builders[host] = ocitest.NewBuilder(host)
	ts.Setenv(name, host)
}

func (w *world) release(ts *testscript.TestScript, args []string) {
	first, rest := words(ts, args, 2)
	opts := ocitest.ReleaseOpts{Components: []string{"cli", "etcd", "installer", "must-gather"}}
	for _, word := range rest {
		switch word {
		case "multi":
			opts.Multi = true
		case "signed":
			opts.Signatures = true
		case "samples":
			opts.Components = append(opts.Components, "cluster-samples-operator")
			opts.Files = map[string]map[string]string{"cluster-samples-operator": exampleFiles()}
		default:
			opts.Version = word
		}
	}
	b := w.builder(ts, first[1])
	r := b.Release(opts)
	ts.Check(b.Err())
	w.releases[first[0]] = r
	ts.Setenv(first[0], r.Reference)
	ts.Setenv(first[0]+"_AT", "quay.io/"+r.PayloadRepo+"@"+r.Descriptor.Digest.String())
	for component, reference := range r.Images {
		ts.Setenv(first[0]+"_"+component, reference)
	}
}

// exampleFiles are those of a samples operator for two architectures.
func exampleFiles() map[string]string {
	samples := ocitest.ExampleSamples()
	files := ocitest.SampleFiles("x86_64", samples)
	maps.Copy(files, ocitest.SampleFiles("aarch64", slices.DeleteFunc(samples, func(s ocitest.Sample) bool { return s.Stream == "nodejs" })))
	for _, arch := range []string{"x86_64", "aarch64"} {
		for _, t := range []struct{ name, tag, image string }{
			{"django", "python:3.9-ubi8", ""}, {"node-example", "nodejs:18-ubi8", ""}, {"cache", "cli:latest", "registry.redhat.io/ubi9/httpd-24"},
		} {
			var images []string
			if t.image != "" {
				images = append(images, t.image)
			}
			path, content := ocitest.TemplateFile(arch, t.name, []string{t.tag}, images...)
			files[path] = content
		}
	}
	return files
}

// assets pushes the real samples, as small images, and what must come of it.
func (w *world) assets(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 4)
	missing, err := strconv.Atoi(first[3])
	ts.Check(err)
	var tables [2]string
	for i, name := range []string{"references.tsv", "aliases.tsv"} {
		data, err := os.ReadFile(filepath.Join("../../testdata/samples", name))
		ts.Check(err)
		tables[i] = string(data)
	}
	samples := ocitest.ParseSamples(tables[0], tables[1])
	lost := everyNth(samples, missing)
	hosts := map[string]*ocitest.Builder{"registry.redhat.io": w.builder(ts, first[1]), "registry.access.redhat.com": w.builder(ts, first[2])}
	for host, b := range hosts {
		b.Samples(slices.DeleteFunc(slices.Clone(samples), func(s ocitest.Sample) bool {
			return lost[s.Reference] || !strings.HasPrefix(s.Reference, host+"/")
		}), nil)
		ts.Check(b.Err())
	}
	b := hosts["registry.redhat.io"]
	r := b.Release(ocitest.ReleaseOpts{
		Components: []string{"cluster-samples-operator"},
		Files:      map[string]map[string]string{"cluster-samples-operator": ocitest.SampleFiles("x86_64", samples)},
	})
	ts.Check(b.Err())
	ts.Setenv(first[0], r.Reference)
	skipped := map[string]bool{}
	for _, s := range samples {
		skipped[s.Stream] = skipped[s.Stream] || lost[s.Reference]
	}
	skips, pulls := "", ""
	for _, name := range slices.Sorted(maps.Keys(skipped)) {
		if skipped[name] {
			skips += "  - " + name + "\n"
		}
	}
	for _, s := range samples {
		if _, path, _ := strings.Cut(s.Reference, "/"); s.Alias == "" && !lost[s.Reference] {
			if !strings.Contains(path, ":") {
				path += ":latest"
			}
			pulls += path + "\n"
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("skips"), []byte(skips), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("pulls"), []byte(pulls), 0o644))
}

// everyNth chooses n references, spread over all of them.
func everyNth(samples []ocitest.Sample, n int) map[string]bool {
	all := map[string]bool{}
	for _, s := range samples {
		all[s.Reference] = s.Reference != ""
	}
	delete(all, "")
	chosen, sorted := map[string]bool{}, slices.Sorted(maps.Keys(all))
	for i := range n {
		chosen[sorted[i*len(sorted)/n]] = true
	}
	return chosen
}

// pulls pulls every image that a file lists, under a path of a registry.
func (w *world) pulls(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 3)
	b, n := w.builder(ts, first[0]), 0
	for line := range strings.Lines(ts.ReadFile(first[2])) {
		repo, tag, _ := strings.Cut(strings.TrimSpace(line), ":")
		repo = path.Join(first[1], repo)
		mediaType, raw := b.Manifest(repo, tag)
		ts.Check(b.Err())
		node, err := oci.ParseNode(mediaType, raw)
		ts.Check(err)
		blobs := []digest.Digest{node.Config.Digest}
		for _, l := range node.Layers {
			blobs = append(blobs, l.Digest)
		}
		for _, d := range blobs {
			if data := b.BlobBytes(repo, d); digest.FromBytes(data) != d {
				ts.Fatalf("%s: %s has other bytes", line, d)
			}
		}
		n++
	}
	ts.Check(b.Err())
	fmt.Fprintln(ts.Stdout(), n, "images")
}

func (w *world) samples(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 3)
	b := w.builder(ts, first[0])
	samples := ocitest.ExampleSamples()
	b.Samples(samples, nil)
	ts.Check(b.Err())
	ts.Check(os.WriteFile(ts.MkAbs(first[2]), ocitest.ImageStreamList(samples, w.releases[first[1]]), 0o644))
}

// shapes are the kinds of images that scripts push.
var shapes = map[string]func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor{
	"docker": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		return plainImage(b, repo, tag, ocitest.ImageOpts{Docker: true})
	},
	"oci": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		return plainImage(b, repo, tag, ocitest.ImageOpts{})
	},
	"list": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		return b.Index(repo, tag, true,
			plainImage(b, repo, "", ocitest.ImageOpts{Docker: true}), plainImage(b, repo, "", ocitest.ImageOpts{Docker: true, Arch: "arm64"}))
	},
	// A list whose second image is gone.
	"lossy": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		lost := plainImage(b, repo, "", ocitest.ImageOpts{Docker: true, Arch: "arm64"})
		list := b.Index(repo, tag, true, plainImage(b, repo, "", ocitest.ImageOpts{Docker: true}), lost)
		b.DeleteManifest(repo, lost.Digest)
		return list
	},
	// An image whose layer is gone.
	"hollow": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		layer := b.RandomLayer(repo, repo, 1000)
		image := b.Image(repo, tag, ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
		b.DeleteBlob(repo, layer.Digest)
		return image
	},
	"index":  (*ocitest.Builder).AttestationIndex,
	"nested": (*ocitest.Builder).NestedIndex,
	"zstd":   (*ocitest.Builder).ZstdImage,
	"zero":   (*ocitest.Builder).ZeroLayerImage,
	// Three layers of 400,000 bytes, which do not compress.
	"big": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		var layers []ocispec.Descriptor
		for i := range 3 {
			layers = append(layers, b.RandomLayer(repo, fmt.Sprint(repo, i), 400_000))
		}
		return b.Image(repo, tag, ocitest.ImageOpts{Layers: layers})
	},
	// Says that it has a terabyte, for registries that do not look.
	"giant": func(b *ocitest.Builder, repo, tag string) ocispec.Descriptor {
		layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(repo), Size: 1 << 40}
		return b.Image(repo, tag, ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
	},
}

// plainImage pushes an image of one layer of its own.
func plainImage(b *ocitest.Builder, repo, tag string, opts ocitest.ImageOpts) ocispec.Descriptor {
	opts.Layers = []ocispec.Descriptor{b.Layer(repo, map[string]string{"etc/name": repo + ":" + tag + opts.Arch + "\n"}, "gzip")}
	return b.Image(repo, tag, opts)
}

func (w *world) image(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 4)
	b, shape := w.builder(ts, first[1]), shapes[first[3]]
	if shape == nil {
		ts.Fatalf("there is no shape %s", first[3])
	}
	repo, tag, _ := strings.Cut(first[2], ":")
	d := shape(b, repo, tag)
	ts.Check(b.Err())
	ts.Setenv(first[0], d.Digest.String())
	ts.Setenv(first[0]+"HEX", d.Digest.Encoded())
}

func (w *world) delete(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 2)
	b := w.builder(ts, first[0])
	name, dg, _ := strings.Cut(first[1], "@")
	_, repo, _ := strings.Cut(name, "/")
	b.DeleteManifest(repo, digest.Digest(dg))
	ts.Check(b.Err())
}

func (w *world) holds(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 1)
	b, out := w.builder(ts, first[0]), ts.Stdout()
	for _, repo := range b.Repositories() {
		tags := b.Tags(repo)
		if len(tags) == 0 {
			fmt.Fprintln(out, repo)
		}
		for _, tag := range tags {
			_, raw := b.Manifest(repo, tag)
			fmt.Fprintf(out, "%s:%s %s\n", repo, tag, digest.FromBytes(raw))
		}
	}
	ts.Check(b.Err())
}
