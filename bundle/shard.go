package bundle

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Shard is a part of the images of a bundle, for one of several hosts that fill
// one registry side by side. Which it is follows from the digest of an image
// alone: so each image is in one shard, under all its references. The zero value
// is all of them.
type Shard struct {
	Index int // 0…Count-1
	Count int // 0 = they are not divided
}

// maxShards is how many hosts there may be.
const maxShards = 1000

// ParseShard reads K/N. K counts from 1 or from 0, as job indexes do: 0/N and N/N
// are the same.
func ParseShard(s string) (Shard, error) {
	k, n, found := strings.Cut(s, "/")
	index, err := strconv.ParseUint(k, 10, 16)
	count, err2 := strconv.ParseUint(n, 10, 16)
	if !found || err != nil || err2 != nil || count < 1 || count > maxShards || index > count {
		return Shard{}, fmt.Errorf("read shard %q: want K/N, as 2/4, with K up to N and N up to %d", s, maxShards)
	}
	return Shard{int(index % count), int(count)}, nil
}

func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

// divides says whether there are others.
func (s Shard) divides() bool { return s.Count > 0 }

// has says whether an image is in the shard.
func (s Shard) has(image digest.Digest) bool {
	if !s.divides() {
		return true
	}
	first, err := hex.DecodeString(image.Encoded()[:16])
	return err == nil && binary.BigEndian.Uint64(first)%uint64(s.Count) == uint64(s.Index)
}

// of are those images that are in the shard.
func (s Shard) of(images []placed) []placed {
	var mine []placed
	for _, image := range images {
		if s.has(image.Digest) {
			mine = append(mine, image)
		}
	}
	return mine
}
