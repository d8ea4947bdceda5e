package bundle

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// tiny is an image without layers, and who fetches it.
func tiny(t *testing.T) (*oci.Client, *Inventory) {
	t.Helper()
	r := ocitest.StartRegistry(t)
	b := r.Builder()
	b.Image("team/tiny", "v1", ocitest.ImageOpts{})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	c, err := oci.NewClient(oci.Options{Insecure: []string{r.Host}, Authfile: authfile})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := oci.ParseReference(r.Host + "/team/tiny:v1")
	if err != nil {
		t.Fatal(err)
	}
	content, err := Plan(t.Context(), c, Request{Images: []oci.Reference{ref}})
	if err != nil {
		t.Fatal(err)
	}
	inv, err := NewInventory(*content, 0, "airlift test", 1)
	if err != nil {
		t.Fatal(err)
	}
	return c, inv
}

// tinyStream is a bundle as a stream, cut into volumes of volumeSize, with the key
// that signed it.
func tinyStream(t *testing.T, volumeSize int64, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	c, inv := tiny(t)
	inv, err := inv.Again(volumeSize, "airlift test", 1)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := ExportStream(t.Context(), c, inv, &stream, ExportOptions{Key: key}); err != nil {
		t.Fatal(err)
	}
	return stream.Bytes()
}

func testKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := verify.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func checkStream(ctx context.Context, stream []byte, trust Trust) error {
	s, err := OpenStream(bytes.NewReader(stream), trust)
	if err != nil {
		return err
	}
	return s.Check(ctx, nil)
}

// TestStreamEveryByte: there is no byte of a stream that may change, and no end
// that may come early. Zeros may follow it, as dd puts them.
func TestStreamEveryByte(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	trust := trustOf(key)
	for _, volumeSize := range []int64{0, 4096} {
		stream := tinyStream(t, volumeSize, key)
		for _, more := range []int{0, 1, 512, 10240, maxStreamEnd} {
			if err := checkStream(t.Context(), append(slices.Clone(stream), make([]byte, more)...), trust); err != nil {
				t.Errorf("with %d zeros: %v", more, err)
			}
		}
		step := 1 + int(volumeSize/1024) // every byte of one, every fifth of the other
		for i := 0; i < len(stream); i += step {
			stream[i] ^= 1 << (i % 8)
			if err := checkStream(t.Context(), stream, trust); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUntrusted) && !errors.Is(err, errStreamEnds) {
				t.Fatalf("byte %d of %d was changed: %v", i, len(stream), err)
			}
			stream[i] ^= 1 << (i % 8)
		}
		for n := 0; n < len(stream); n += step {
			if err := checkStream(t.Context(), stream[:n], trust); !errors.Is(err, errStreamEnds) {
				t.Fatalf("after %d of %d bytes: %v", n, len(stream), err)
			}
		}
		for _, more := range [][]byte{{1}, append(make([]byte, 512), 1), make([]byte, maxStreamEnd+1), stream} {
			if err := checkStream(t.Context(), append(slices.Clone(stream), more...), trust); !errors.Is(err, ErrDamaged) {
				t.Errorf("followed by %d bytes: %v", len(more), err)
			}
		}
	}
}

// streamFiles takes a stream apart into its files, each with header and padding.
func streamFiles(t *testing.T, stream []byte) (files [][]byte, names []string) {
	t.Helper()
	in := newTarReader(bytes.NewReader(stream))
	for start := int64(0); ; {
		name, err := in.peek()
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			return files, names
		}
		if _, err := in.file(name, 1<<30); err != nil {
			t.Fatal(err)
		}
		files, names = append(files, stream[start:in.offset]), append(names, name)
		start = in.offset
	}
}

// TestStreamFiles: each file once, in its order, and of this bundle.
func TestStreamFiles(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	trust := trustOf(key)
	files, names := streamFiles(t, tinyStream(t, 4096, key))
	others, _ := streamFiles(t, tinyStream(t, 0, key))
	join := func(files [][]byte) []byte { return append(slices.Concat(files...), make([]byte, endSize)...) }
	if err := checkStream(t.Context(), join(files), trust); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		spoilt := map[string][]byte{
			"missing": join(slices.Delete(slices.Clone(files), i, i+1)),
			"doubled": join(slices.Insert(slices.Clone(files), i, files[i])),
		}
		if i > 0 {
			swapped := slices.Clone(files)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			spoilt["swapped"] = join(swapped)
		}
		foreign := slices.Clone(files)
		foreign[i] = others[min(i, len(others)-1)]
		spoilt["of another bundle"] = join(foreign)
		for how, stream := range spoilt {
			if bytes.Equal(stream, join(files)) {
				continue
			}
			if err := checkStream(t.Context(), stream, trust); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUntrusted) && !errors.Is(err, errStreamEnds) {
				t.Errorf("%s %s: %v", name, how, err)
			}
		}
	}
}

// TestStreamTrust: nothing is parsed that nobody trusted has signed.
func TestStreamTrust(t *testing.T) {
	t.Parallel()
	key, stranger := testKey(t), testKey(t)
	signed, unsigned := tinyStream(t, 0, key), tinyStream(t, 0, nil)
	for name, c := range map[string]struct {
		stream []byte
		trust  Trust
		class  error
	}{
		"a stranger's":         {signed, trustOf(stranger), ErrUntrusted},
		"nobody's":             {unsigned, trustOf(key), ErrUntrusted},
		"nobody's, with leave": {unsigned, Trust{AllowUnsigned: true}, nil},
		"signed, of nobody":    {signed, Trust{AllowUnsigned: true}, ErrUntrusted},
		"two required":         {signed, Trust{Keys: append(trustOf(key).Keys, trustOf(stranger).Keys...), Required: 2}, ErrUntrusted},
		"one of two":           {signed, Trust{Keys: append(trustOf(key).Keys, trustOf(stranger).Keys...)}, nil},
	} {
		s, err := OpenStream(bytes.NewReader(c.stream), c.trust)
		if !errors.Is(err, c.class) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (s != nil && s.Inventory != nil) {
			t.Errorf("%s: it was parsed", name)
		}
	}
}

// TestStreamEach: whoever visits need not read on, and what visit says is the end.
func TestStreamEach(t *testing.T) {
	t.Parallel()
	stream := tinyStream(t, 0, nil)
	s, err := OpenStream(bytes.NewReader(stream), Trust{AllowUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = s.each(t.Context(), func(e Entry, contents io.Reader) error {
		seen++
		if seen%2 == 0 {
			_, err := contents.Read(make([]byte, 3))
			return err
		}
		data, err := io.ReadAll(contents)
		if e.Digest != "" && digest.FromBytes(data) != e.Digest {
			t.Errorf("%s: other bytes", e.Name())
		}
		return err
	})
	if err != nil || seen != len(s.Layout.Entries) {
		t.Errorf("%d files, %v", seen, err)
	}
	if s, err = OpenStream(bytes.NewReader(stream), Trust{AllowUnsigned: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.each(t.Context(), func(Entry, io.Reader) error { return os.ErrPermission }); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

// FuzzOpenStream: whatever comes through a pipe, it is refused or taken, and no
// more of it is read than there may be.
func FuzzOpenStream(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 4096))
	key := testKey(f)
	for _, volumeSize := range []int64{0, 8192} {
		b := makeBundle(f, volumeSize, []int{0, 513, 9000}, nil)
		stream := b.stream(f, key, file{signatureFile(InventoryFile, "0123456789abcdef"), []byte("signature")})
		f.Add(stream)
		f.Add(append(stream, make([]byte, 10240)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := OpenStream(bytes.NewReader(data), Trust{Unverified: true})
		if err != nil {
			return
		}
		most := int64(0)
		err = s.Check(t.Context(), func(e Event) { most = max(most, e.Done) })
		if most > s.Layout.Size || err == nil && most != s.Layout.Size || most > int64(len(data)) {
			t.Errorf("%d bytes of %d were checked, of %d that came: %v", most, s.Layout.Size, len(data), err)
		}
	})
}
