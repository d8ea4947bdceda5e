package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

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

// TestCheckCancelled ends with the context's error, not with a verdict.
func TestCheckCancelled(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.open(t).Check(ctx, bundle.CheckOptions{})
	wantError(t, err, context.Canceled)
}

// sign writes a file and the trusted key's signature over it.
func sign(t *testing.T, m medium, file, contents string) {
	t.Helper()
	signature, err := verify.Sign(m.key, []byte(contents))
	check(t, err)
	writeFile(t, m.path(file), []byte(contents))
	writeFile(t, m.path(file+"."+m.id()+".sig"), signature)
}
