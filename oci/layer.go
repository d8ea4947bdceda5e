package oci

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxUnpackedLayer is how many bytes a layer may unpack to. They are read
// through, never stored.
const MaxUnpackedLayer = 32 << 30

// maxWindow is how much memory a zstd layer may ask for: what zstd --long=27
// writes, the most that its own tool reads unasked.
const maxWindow = 128 << 20

// searchLayer reads one layer to its end and checks its digest, which counts
// before any other fault that is found in it.
func (c *Client) searchLayer(ctx context.Context, r Reference, layer ocispec.Descriptor, s *search) (seen, error) {
	body, err := c.Blob(ctx, r, layer)
	if err != nil {
		return seen{}, err
	}
	defer body.Close()
	sum := sha256.New()
	raw := io.TeeReader(body, sum)
	got, fault := s.unpacked(raw)
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return seen{}, err
	}
	if d := digest.NewDigest(digest.SHA256, sum); d != layer.Digest {
		return seen{}, fmt.Errorf("the registry sent %s", d)
	}
	return got, fault
}

// unpacked searches a layer that is compressed, or not.
func (s *search) unpacked(raw io.Reader) (seen, error) {
	r, done, err := unpack(raw)
	if err != nil {
		return seen{}, err
	}
	defer done()
	return s.layer(&bounded{r, MaxUnpackedLayer})
}

// Magic numbers that layers begin with. zstd:chunked and pzstd may begin with a
// skippable frame, of 16 kinds.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	skippable = []byte{0x2a, 0x4d, 0x18}
)

// unpack reads through the compression that the first bytes show.
func unpack(raw io.Reader) (r io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(raw, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		z, err := gzip.NewReader(buffered)
		return z, nothing, err
	case bytes.Equal(magic, zstdMagic), len(magic) == 4 && magic[0]>>4 == 5 && bytes.Equal(magic[1:], skippable):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, nothing, nil
}

// bounded ends in an error, not in io.EOF, once it has given too much.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it unpacks to more than %d bytes", int64(MaxUnpackedLayer))
	}
	return n, err
}
