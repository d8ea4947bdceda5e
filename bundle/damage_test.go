package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// small is a bundle of some ten KB, of one image. With several volumes its first
// layer is cut. Two of different names have files of equal sizes.
func small(t *testing.T, name string, volumeSize int64) (medium, *oci.Client) {
	t.Helper()
	near := source(t, func(b *ocitest.Builder) {
		size := 300
		if volumeSize > 0 {
			size = 5000
		}
		layer := b.Blob("team/small", bytes.Repeat([]byte(name), size))
		layer.MediaType = ocispec.MediaTypeImageLayer
		b.Image("team/small", "v1", ocitest.ImageOpts{
			Layers:      []ocispec.Descriptor{layer, b.Blob("team/small", []byte("last "+name))},
			Annotations: map[string]string{"note": "nothing"},
		})
	})
	c := client(t, near.Host)
	return export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/small:v1")}), volumeSize)), c
}

// verified is what the command verify does: open and check.
func verified(t *testing.T, dirs []string, trust bundle.Trust, o bundle.CheckOptions) ([]bundle.Finding, error) {
	t.Helper()
	b, err := bundle.Open(dirs, trust)
	if err != nil {
		return nil, err
	}
	findings, err := b.Check(t.Context(), o)
	check(t, err)
	return findings, bundle.Verdict(findings)
}

// TestEveryByte: one flipped bit in any byte of any file is found. What is said
// names the file, and for a volume the element that the byte belongs to. Of a
// bundle in several volumes, some bytes of each block are tried.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	for name, tried := range map[string]struct{ size, step int64 }{"one volume": {0, 1}, "several": {5120, 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := small(t, "x", tried.size)
			if findings, err := verified(t, []string{m.dir}, m.trust(), bundle.CheckOptions{}); err != nil {
				t.Fatal(findings, err)
			}
			bytes := int64(0)
			for _, file := range fileNames(t, m.dir) {
				size := int64(len(readFile(t, m.path(file))))
				bytes += size
				for i := int64(0); i < size; i += tried.step {
					flip(t, m.path(file), i)
					findings, err := verified(t, []string{m.dir}, m.trust(), bundle.CheckOptions{Jobs: 1})
					flip(t, m.path(file), i)
					wantNamed(t, m, file, i, findings, err)
				}
			}
			if bytes < 8000 || bytes > 20_000 {
				t.Errorf("the bundle has %d bytes", bytes)
			}
		})
	}
}

// wantNamed fails unless a byte of a file is named as damaged.
func wantNamed(t *testing.T, m medium, file string, offset int64, findings []bundle.Finding, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), m.path(file)) {
		t.Errorf("byte %d of %s: %v", offset, file, err)
		return
	}
	if !strings.HasPrefix(file, bundle.VolumeFile) {
		return
	}
	exact := slices.ContainsFunc(findings, func(f bundle.Finding) bool {
		return f.File == m.path(file) && f.Offset <= offset && offset < f.Offset+f.Length
	})
	if !exact || !errors.Is(err, bundle.ErrDamaged) {
		t.Errorf("byte %d of %s: no element with it is named: %v", offset, file, err)
	}
}

// TestEveryTruncation: so is every file that ends early, or is not there.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"one volume": 0, "several": 5120} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := small(t, "x", size)
			for _, file := range fileNames(t, m.dir) {
				original := readFile(t, m.path(file))
				for n := len(original) - 1; n >= 0; n -= 97 {
					check(t, os.WriteFile(m.path(file), original[:n], 0o666))
					if _, err := verified(t, []string{m.dir}, m.trust(), bundle.CheckOptions{}); err == nil || !strings.Contains(err.Error(), m.path(file)) {
						t.Errorf("%s cut at %d: %v", file, n, err)
					}
				}
				check(t, os.Remove(m.path(file)))
				class := bundle.ErrAbsent
				switch {
				case strings.HasSuffix(file, ".sig"):
					class = bundle.ErrUntrusted
				case file == bundle.ReadmeFile:
					class = bundle.ErrDamaged
				case file == bundle.InventoryFile:
					class = nil // no bundle at all
				}
				_, err := verified(t, []string{m.dir}, m.trust(), bundle.CheckOptions{})
				signed, _, _ := strings.Cut(file, "."+m.id())
				wantError(t, err, class, signed)
				writeFile(t, m.path(file), original)
			}
		})
	}
}

// TestSums: with --sums a volume is also held against its line.
func TestSums(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	for _, file := range m.inv.Storage.Volumes {
		spoilt := m.copied(t)
		flip(t, spoilt.path(file.Name), 40)
		findings, _ := verified(t, []string{spoilt.dir}, m.trust(), bundle.CheckOptions{Sums: true})
		if !slices.ContainsFunc(findings, func(f bundle.Finding) bool { return f.Element == "sum" && f.File == spoilt.path(file.Name) }) {
			t.Errorf("%s: %v", file.Name, findings)
		}
	}
}

// TestPartOfBlob: a volume that holds only a part of a blob can be checked alone.
func TestPartOfBlob(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	volumes := m.inv.Storage.Volumes
	for i, kept := range volumes {
		alone := m.copied(t)
		for _, v := range volumes {
			if v.Name != kept.Name {
				check(t, os.Remove(alone.path(v.Name)))
			}
		}
		_, err := verified(t, []string{alone.dir}, m.trust(), bundle.CheckOptions{})
		wantError(t, err, bundle.ErrAbsent)
		if errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("%s alone is damaged: %v", kept.Name, err)
		}
		for offset := int64(0); offset < kept.Size; offset += 101 {
			flip(t, alone.path(kept.Name), offset)
			_, err := verified(t, []string{alone.dir}, m.trust(), bundle.CheckOptions{})
			wantError(t, err, bundle.ErrDamaged, alone.path(kept.Name))
			flip(t, alone.path(kept.Name), offset)
		}
		if i == 0 && len(volumes) < 3 {
			t.Fatal("no blob is cut")
		}
	}
}

// TestForeignFiles on a medium are none of airlift's affair.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	for _, name := range []string{
		".Trash-1000/info/x", "System Volume Information/IndexerVolumeGuid", "notes.txt", ".DS_Store", "SHA256SUMS.asc",
		"bundle.tar.md5", "bundle.tar.001.sha256", "bundle.json.sig", "bundle.json.somebody.sig", "._bundle.tar.001",
	} {
		writeFile(t, m.path(name), []byte("x"))
	}
	if findings, err := verified(t, []string{m.dir}, m.trust(), bundle.CheckOptions{Sums: true}); err != nil {
		t.Error(findings)
	}
	if _, err := importInto(t.Context(), t, m, lenient(t), 0); err != nil {
		t.Error(err)
	}
}

// TestOtherSigners: a signature of a key that is not trusted is listed, not
// believed; one of a trusted key that does not fit is an error beside one that does.
func TestOtherSigners(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	other := newKey(t)
	id := verify.PublicKeyOf(other).ID()
	signature, err := verify.Sign(other, []byte("something else"))
	check(t, err)
	writeFile(t, m.path(bundle.InventoryFile+"."+id+".sig"), signature)
	b := m.open(t)
	if !slices.Equal(b.Signers, []string{m.id()}) || !slices.Equal(b.Unchecked, []string{id}) {
		t.Errorf("signers %s, unchecked %s", b.Signers, b.Unchecked)
	}
	trust := m.trust()
	trust.Keys = append(trust.Keys, verify.PublicKeyOf(other))
	_, err = bundle.Open([]string{m.dir}, trust)
	wantError(t, err, bundle.ErrUntrusted, id)
}

// refusals are what is found out before anything is pushed.
var refusals = map[string]struct {
	spoil func(t *testing.T, m, other medium)
	class error
	names string // what the error names
}{
	"truncated volume": {func(t *testing.T, m, _ medium) { check(t, os.Truncate(m.path("bundle.tar.002"), 5000)) }, bundle.ErrDamaged, "bundle.tar.002"},
	"longer volume": {func(t *testing.T, m, _ medium) {
		writeFile(t, m.path("bundle.tar.003"), append(readFile(t, m.path("bundle.tar.003")), 0))
	}, bundle.ErrDamaged, "bundle.tar.003"},
	"missing volume":           {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("bundle.tar.003"))) }, bundle.ErrAbsent, "bundle.tar.003"},
	"missing first volume":     {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("bundle.tar.001"))) }, bundle.ErrAbsent, "bundle.tar.001"},
	"another's second volume":  {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.tar.002") }, bundle.ErrDamaged, "bundle.tar.002"},
	"another's first volume":   {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.tar.001") }, bundle.ErrDamaged, "bundle.tar.001"},
	"one volume too many":      {func(t *testing.T, m, _ medium) { writeFile(t, m.path("bundle.tar.004"), []byte("x")) }, bundle.ErrDamaged, "bundle.tar.004"},
	"whole archive beside":     {func(t *testing.T, m, _ medium) { writeFile(t, m.path("bundle.tar"), []byte("x")) }, bundle.ErrDamaged, "bundle.tar"},
	"volume is a directory":    {func(t *testing.T, m, _ medium) { turnIntoDirectory(t, m.path("bundle.tar.002")) }, bundle.ErrDamaged, "bundle.tar.002"},
	"changed inventory":        {func(t *testing.T, m, _ medium) { flip(t, m.path("bundle.json"), 700) }, bundle.ErrUntrusted, "bundle.json"},
	"another's inventory":      {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"wrong signature":          {func(t *testing.T, m, other medium) { forge(t, m, other, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"missing signature":        {func(t *testing.T, m, _ medium) { unsign(t, m, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"wrong signature of sums":  {func(t *testing.T, m, other medium) { forge(t, m, other, "SHA256SUMS") }, bundle.ErrUntrusted, "SHA256SUMS"},
	"no signature of sums":     {func(t *testing.T, m, _ medium) { unsign(t, m, "SHA256SUMS") }, bundle.ErrUntrusted, "SHA256SUMS"},
	"changed sums":             {func(t *testing.T, m, _ medium) { flip(t, m.path("SHA256SUMS"), 3) }, bundle.ErrUntrusted, "SHA256SUMS"},
	"missing sums":             {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("SHA256SUMS"))) }, bundle.ErrAbsent, "SHA256SUMS"},
	"changed README":           {func(t *testing.T, m, _ medium) { flip(t, m.path("README.txt"), 9) }, bundle.ErrDamaged, "README.txt"},
	"missing README":           {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("README.txt"))) }, bundle.ErrDamaged, "README.txt"},
	"damaged manifest":         {func(t *testing.T, m, _ medium) { flip(t, m.path("bundle.tar.001"), nodeOffset(t, m)) }, bundle.ErrDamaged, "bundle.tar.001"},
	"sums in another order":    {resum(func(lines []string) []string { slices.Reverse(lines); return lines }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a line too few": {resum(func(lines []string) []string { return lines[1:] }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a comment":      {resum(func(lines []string) []string { return append(lines, "# checked\n") }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a binary mark": {resum(func(lines []string) []string {
		lines[0] = strings.Replace(lines[0], "  ", " *", 1)
		return lines
	}), bundle.ErrDamaged, "SHA256SUMS"},
}

// TestRefusedBeforeAnyConnection: not even a connection is made for a bundle of
// which a quick look shows that it is not whole or not trusted.
func TestRefusedBeforeAnyConnection(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	other, _ := small(t, "y", 5120)
	far, connections := nobody(t)
	attempt := func(m medium, trust bundle.Trust, o bundle.ImportOptions) error {
		b, err := bundle.Open([]string{m.dir}, trust)
		if err != nil {
			return err
		}
		o.Placement = to(t, far)
		_, err = b.Import(t.Context(), client(t, far), o)
		return err
	}
	for name, r := range refusals {
		spoilt := m.copied(t)
		r.spoil(t, spoilt, other)
		if err := attempt(spoilt, m.trust(), bundle.ImportOptions{}); err == nil || !errors.Is(err, r.class) || !strings.Contains(err.Error(), r.names) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantError(t, attempt(m, bundle.Trust{}, bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, other.trust(), bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, bundle.Trust{AllowUnsigned: true}, bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, bundle.Trust{Unverified: true}, bundle.ImportOptions{}), bundle.ErrUntrusted)
	for _, name := range []string{"missing sums", "missing README", "truncated volume", "another's second volume", "missing first volume"} {
		spoilt := m.copied(t)
		refusals[name].spoil(t, spoilt, other)
		if err := attempt(spoilt, m.trust(), bundle.ImportOptions{Partial: true, SkipMissing: true}); !errors.Is(err, refusals[name].class) {
			t.Errorf("%s, although --partial: %v", name, err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	if err := attempt(m, m.trust(), bundle.ImportOptions{}); err == nil || connections.Load() == 0 {
		t.Errorf("a good bundle makes %d connections: %v", connections.Load(), err)
	}
}

// TestDifferentBundles on two media are no one bundle.
func TestDifferentBundles(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	other, _ := small(t, "y", 0)
	trust := bundle.Trust{Keys: append(m.trust().Keys, other.trust().Keys...)}
	_, err := bundle.Open([]string{m.dir, other.dir}, trust)
	wantError(t, err, bundle.ErrDamaged, m.dir, other.dir)
}

// TestSeveralMedia: volumes on several media, each with the first one, are one bundle.
func TestSeveralMedia(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	media := []medium{m.copied(t), m.copied(t)}
	for i, gone := range []string{"bundle.tar.003", "bundle.tar.002"} {
		check(t, os.Remove(media[i].path(gone)))
		sums := ""
		for line := range strings.Lines(string(readFile(t, media[i].path(bundle.SumsFile)))) {
			if !strings.HasSuffix(line, gone+"\n") {
				sums += line
			}
		}
		sign(t, media[i], bundle.SumsFile, sums)
	}
	dirs := []string{media[0].dir, media[1].dir}
	if _, err := verified(t, dirs, m.trust(), bundle.CheckOptions{Sums: true}); err != nil {
		t.Error(err)
	}
	_, err := verified(t, dirs[:1], m.trust(), bundle.CheckOptions{})
	wantError(t, err, bundle.ErrAbsent, "bundle.tar.003")
	copies := [2]string{media[0].path("bundle.tar.001"), media[1].path("bundle.tar.001")}
	for _, spoilt := range copies { // both copies of the first volume are looked at
		flip(t, spoilt, 513)
		_, err := verified(t, dirs, m.trust(), bundle.CheckOptions{})
		wantError(t, err, bundle.ErrDamaged, spoilt)
		flip(t, spoilt, 513)
	}
}

// TestDamagedPayload: whichever byte of a blob is wrong, it never becomes a blob
// of the registry, nothing that needs it is tagged, and everything else is.
func TestDamagedPayload(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		layer = twoImages(b)
		large := ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}}
		b.Index("team/large", "list", false, b.Image("team/large", "", ocitest.ImageOpts{}), b.Index("team/large", "", false, b.Image("team/large", "", large)))
		b.RandomLayer("team/mounted", "large", 200_000)
		b.Image("team/mounted", "v1", large)
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}, LayerSize: 100_000})
	})
	c := client(t, near.Host)
	whole := export(t, c, inventory(t, plan(t, c, bundle.Request{
		Releases: references(t, release.Reference),
		Images:   references(t, "quay.io/team/large:v1", "quay.io/team/large:list", "quay.io/team/mounted:v1", "quay.io/team/small:v1"),
	}), 0))
	component := componentLayer(t, near, release)
	for name, damage := range map[string]struct {
		blob digest.Digest
		at   func(size int64) int64
		lost []string // parts of names of what needs it
	}{
		"first byte": {layer.Digest, func(int64) int64 { return 0 }, []string{"team/large", "team/mounted"}},
		"middle":     {layer.Digest, func(size int64) int64 { return size / 2 }, []string{"team/large", "team/mounted"}},
		"last byte":  {layer.Digest, func(size int64) int64 { return size - 1 }, []string{"team/large", "team/mounted"}},
		"component":  {component, func(size int64) int64 { return size / 3 }, []string{"openshift-release-dev/ocp-release", release.Images["cli"]}},
	} {
		t.Run(name, func(t *testing.T) {
			m := whole.copied(t)
			e, _ := m.open(t).Layout.Find(damage.blob)
			flip(t, m.path("bundle.tar"), e.Offset+512+damage.at(e.Size))
			far := ocitest.StartRegistry(t)
			results, err := importInto(t.Context(), t, m, far.Host, 0)
			wantError(t, err, bundle.ErrDamaged, m.path("bundle.tar"), string(damage.blob))
			wantNothingOf(t, far, damage.blob)
			wantLost(t, results, damage.lost)
			newCrawler(far.Host).look(t)
			tags := far.Builder().Tags("far/openshift-release-dev/ocp-release")
			if wants := name != "component"; wants != slices.Contains(tags, "4.17.3-x86_64") {
				t.Errorf("the release's tags: %s", tags)
			}
		})
	}
}

// componentLayer is the layer that only the release's component cli has.
func componentLayer(t *testing.T, near *ocitest.Registry, release ocitest.Release) digest.Digest {
	t.Helper()
	b := near.Builder()
	_, raw := b.Manifest(release.ComponentRepo, string(release.Components["cli"]))
	check(t, b.Err())
	n, err := oci.ParseNode(ocitest.DockerManifest, raw)
	check(t, err)
	return n.Layers[len(n.Layers)-1].Digest
}

// wantNothingOf looks into the registry's storage.
func wantNothingOf(t *testing.T, far *ocitest.Registry, d digest.Digest) {
	t.Helper()
	for _, name := range fileNames(t, far.Root) {
		if strings.Contains(name, d.Encoded()) {
			t.Errorf("the registry holds %s", name)
		}
	}
}

// wantLost fails unless exactly the images with these names were not imported.
func wantLost(t *testing.T, results []bundle.ImageResult, lost []string) {
	t.Helper()
	for _, r := range results {
		needs := slices.ContainsFunc(lost, func(part string) bool { return strings.Contains(r.Reference, part) })
		if imported := r.State == bundle.StateImported; imported == needs {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
		}
	}
}

// TestDamagedLastByte of any blob: the upload is given up, and no manifest is pushed.
func TestDamagedLastByte(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	b := m.open(t)
	for _, blob := range m.inv.Content.Blobs {
		spoilt, far := m.copied(t), ocitest.StartRegistry(t)
		e, _ := b.Layout.Find(blob.Digest)
		flip(t, spoilt.path("bundle.tar"), e.Offset+512+e.Size-1)
		proxy := ocitest.Misbehave(t, far.Host, nil)
		_, err := importInto(t.Context(), t, spoilt, proxy.Host, 1)
		wantError(t, err, bundle.ErrDamaged, string(blob.Digest))
		wantNothingOf(t, far, blob.Digest)
		if n := proxy.Count(http.MethodPut, "/manifests/"); n != 0 {
			t.Errorf("%d manifests were pushed", n)
		}
	}
}

// TestCheckCancelled ends with the context's error, not with a verdict.
func TestCheckCancelled(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.open(t).Check(ctx, bundle.CheckOptions{})
	wantError(t, err, context.Canceled)
}

// replace puts another bundle's file, of the same size, in the place of one.
func replace(t *testing.T, m, other medium, file string) {
	t.Helper()
	theirs := readFile(t, other.path(file))
	if len(theirs) != len(readFile(t, m.path(file))) {
		t.Fatalf("%s has another size", file)
	}
	writeFile(t, m.path(file), theirs)
}

// forge puts another key's signature under the name of the trusted one's.
func forge(t *testing.T, m, other medium, file string) {
	t.Helper()
	signature, err := verify.Sign(other.key, readFile(t, m.path(file)))
	check(t, err)
	writeFile(t, m.path(file+"."+m.id()+".sig"), signature)
}

func unsign(t *testing.T, m medium, file string) {
	t.Helper()
	check(t, os.Remove(m.path(file+"."+m.id()+".sig")))
}

// sign writes a file and the trusted key's signature over it.
func sign(t *testing.T, m medium, file, contents string) {
	t.Helper()
	signature, err := verify.Sign(m.key, []byte(contents))
	check(t, err)
	writeFile(t, m.path(file), []byte(contents))
	writeFile(t, m.path(file+"."+m.id()+".sig"), signature)
}

// resum changes the lines of SHA256SUMS and signs them.
func resum(change func([]string) []string) func(*testing.T, medium, medium) {
	return func(t *testing.T, m, _ medium) {
		lines := slices.Collect(strings.Lines(string(readFile(t, m.path(bundle.SumsFile)))))
		sign(t, m, bundle.SumsFile, strings.Join(change(lines), ""))
	}
}

func turnIntoDirectory(t *testing.T, path string) {
	t.Helper()
	check(t, os.Remove(path))
	check(t, os.Mkdir(path, 0o777))
}

// nodeOffset is where, in the first volume, the manifest has what nothing but
// its digest covers.
func nodeOffset(t *testing.T, m medium) int64 {
	t.Helper()
	at := bytes.Index(readFile(t, m.path(m.inv.Storage.Volumes[0].Name)), []byte("nothing"))
	if at < 0 {
		t.Fatal("no manifest in the first volume")
	}
	return int64(at)
}
