package ocitest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Vast is a registry of blobs that are larger than what a test may keep: those
// that [Vast.Layer] adds are made while they are read, and those that are pushed
// are held against their digest and thrown away. Manifests are kept, and blobs of
// less than 1 MiB. Else it is as [Embedded].
type Vast struct {
	http.Handler
	blobs *vastBlobs
}

// NewVast returns a registry that is empty.
func NewVast() *Vast {
	blobs := &vastBlobs{made: map[string]vastBlob{}}
	silent := log.New(io.Discard, "", 0)
	return &Vast{registry.New(registry.Logger(silent), registry.WithBlobHandler(blobs)), blobs}
}

// Layer adds a layer of size bytes that do not compress, and are no tar either.
// The seed decides them. It takes a second for each one or two GB.
func (v *Vast) Layer(seed string, size int64) ocispec.Descriptor {
	blob := newVastBlob(seed, size)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blob.digest(), Size: size}
	v.blobs.keep(d.Digest.String(), blob)
	return d
}

// Pushed says whether a blob of that digest was pushed, or added.
func (v *Vast) Pushed(d digest.Digest) bool {
	_, there := v.blobs.get(d.String())
	return there
}

// vastBlobs is the blobs of a registry, the same ones in all repositories.
type vastBlobs struct {
	mu   sync.Mutex
	made map[string]vastBlob
}

func (b *vastBlobs) keep(digest string, blob vastBlob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made[digest] = blob
}

func (b *vastBlobs) get(digest string) (vastBlob, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	blob, there := b.made[digest]
	return blob, there
}

// Get, Stat and Put are what the registry asks for.
func (b *vastBlobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	blob, there := b.get(h.String())
	if !there {
		return nil, registry.ErrNotFound
	}
	return section{io.NewSectionReader(blob, 0, blob.size)}, nil
}

func (b *vastBlobs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	blob, there := b.get(h.String())
	if !there {
		return 0, registry.ErrNotFound
	}
	return blob.size, nil
}

func (b *vastBlobs) Put(_ context.Context, _ string, h v1.Hash, contents io.ReadCloser) error {
	var start strings.Builder
	size, err := io.CopyN(&start, contents, 1<<20)
	if errors.Is(err, io.EOF) {
		b.keep(h.String(), vastBlob{size: size, bytes: strings.NewReader(start.String())})
		return nil
	}
	if err != nil {
		return err
	}
	rest, err := io.Copy(io.Discard, contents)
	if err == nil {
		b.keep(h.String(), vastBlob{size: size + rest, bytes: gone{}})
	}
	return err
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// gone are bytes that were thrown away.
type gone struct{}

func (gone) ReadAt([]byte, int64) (int, error) { return 0, errors.New("these bytes were not kept") }

// vastBlob is a blob: what is kept of it, or what makes it.
type vastBlob struct {
	size  int64
	bytes io.ReaderAt
}

func newVastBlob(seed string, size int64) vastBlob {
	key := sha256.Sum256([]byte(seed))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return vastBlob{size, keystream{block}}
}

func (b vastBlob) ReadAt(p []byte, offset int64) (int, error) { return b.bytes.ReadAt(p, offset) }

func (b vastBlob) digest() digest.Digest {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(b, 0, b.size)); err != nil {
		panic(fmt.Sprintf("make a blob: %v", err)) // the keystream never fails
	}
	return digest.NewDigest(digest.SHA256, hash)
}

// keystream is the bytes of a cipher in counter mode, without end: any of them
// can be had without those before.
type keystream struct{ block cipher.Block }

func (k keystream) ReadAt(p []byte, offset int64) (int, error) {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(offset)/aes.BlockSize)
	stream := cipher.NewCTR(k.block, counter[:])
	var skipped [aes.BlockSize]byte
	stream.XORKeyStream(skipped[:offset%aes.BlockSize], skipped[:offset%aes.BlockSize])
	clear(p)
	stream.XORKeyStream(p, p)
	return len(p), nil
}
