package main

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"airlift/bundle"
)

// fatFileMax is the largest file, in bytes, on FAT32 and in one extent of an
// ISO 9660 image of level 2. Volumes for a medium never exceed it, so that
// they can also be carried on a stick or be written by any burning program.
const fatFileMax = bundle.MaxFATFile

// mediumReserve, in bytes, is what a medium keeps free of payload volumes, for
//   - its copy of the first volume, which holds all nodes and configs: some
//     5 MiB for the release of one architecture, 25 MiB for one of all;
//   - bundle.json, README.txt, sums and signatures: a few MiB;
//   - the file system: about 1 MiB for an ISO 9660/UDF bridge (system area,
//     anchors at sector 256 and at the end, path tables, padding of 150 sectors).
//
// Whether it all fits is computed when the plan is known; this only makes it likely.
const mediumReserve = 64 << 20

// media are capacities in bytes, decimal as they are printed on the package.
var media = map[string]int64{
	"cd":     700_000_000,
	"dvd":    4_700_000_000,
	"dvd-dl": 8_500_000_000,
	"bd":     25_000_000_000,
}

var sizePattern = regexp.MustCompile(`(?i)^[0-9]+(\.[0-9]+)? ?([KMGT]i?B|B)?$`)

// volumeSize reads --volume-size: the bytes of one volume. "fat32" is the
// largest file of that file system; an optical medium's name is the size of
// which the fewest fill that medium (cd 1, dvd 2, dvd-dl 2, bd 6).
func volumeSize(s string) (int64, error) {
	if s == "fat32" {
		return fatFileMax, nil
	}
	if capacity, ok := media[s]; ok {
		usable := capacity - mediumReserve
		count := (usable + fatFileMax - 1) / fatFileMax
		return usable / count, nil
	}
	if !sizePattern.MatchString(s) {
		return 0, usagef("--volume-size %s is neither a number of bytes (as 4000000000, 650MB, 4GiB) nor one of %s, fat32",
			s, strings.Join(slices.Sorted(maps.Keys(media)), ", "))
	}
	return sizeFlag("volume-size", s)
}

// sizeFlag reads a number of bytes, at least one.
func sizeFlag(flag, s string) (int64, error) {
	if !sizePattern.MatchString(s) {
		return 0, usagef("--%s %s is not a number of bytes (as 4000000000, 650MB, 4GiB)", flag, s)
	}
	size, err := humanize.ParseBytes(s)
	if err != nil || size > math.MaxInt64 {
		return 0, usagef("--%s %s is too large", flag, s)
	}
	if size == 0 {
		return 0, usagef("--%s %s is zero", flag, s)
	}
	return int64(size), nil
}
