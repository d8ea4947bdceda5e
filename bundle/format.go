package bundle

import (
	"fmt"
	"regexp"
)

// What a bundle says of its own form. A reader refuses what it does not know.
const (
	Format     = "airlift.bundle/1" // of bundle.json
	LayoutName = "oci-tar/1"        // how the inventory becomes an archive
)

// Names on the medium. Every name is [a-zA-Z0-9._-] and unique ignoring case,
// so that FAT, exFAT and ISO 9660 with Joliet can hold them.
const (
	ReadmeFile     = "README.txt"
	InventoryFile  = "bundle.json"
	SumsFile       = "SHA256SUMS"
	CheckpointFile = "bundle.checkpoint" // there only while an export is unfinished
	VolumeFile     = "bundle.tar"        // with .001 and so on, if there are several
	signatureEnd   = ".sig"
)

// Limits, for writing and for reading alike: airlift never writes what it
// would refuse to read.
const (
	MaxVolumes       = 999      // three digits in a volume's name
	MaxInventorySize = 64 << 20 // bytes of bundle.json: parsed as a whole, in memory
	MaxImages        = 100_000  // references; a release has about 200
	MaxNodes         = 400_000  // manifests and indexes
	MaxBlobs         = 1_000_000
	MaxBlobSize      = 1 << 40 // bytes; registries stop far below
	MaxArchiveSize   = 1 << 50 // bytes; keeps all sums of sizes far from overflow
	maxSumsSize      = 1 << 20 // bytes of SHA256SUMS: 999 volumes take 80 KB
	maxReadmeSize    = 1 << 20 // bytes of README.txt in a stream

	maxStreamSignatures = 64       // over one file
	maxStreamEnd        = 64 << 20 // bytes of zeros behind the end, as dd and tapes put them
)

// volumeName is the name of volume i (from 0) of n.
func volumeName(i, n int) string {
	if n == 1 {
		return VolumeFile
	}
	return fmt.Sprintf("%s.%03d", VolumeFile, i+1)
}

var volumePattern = regexp.MustCompile(`^bundle\.tar(\.[0-9]{3})?$`)

// isVolumeName says whether a file could be a volume of some bundle. A sidecar
// that somebody put beside it (bundle.tar.md5) is not.
func isVolumeName(name string) bool { return volumePattern.MatchString(name) }

// signatureFile is the name of the signature that key id made over a file.
func signatureFile(file, id string) string { return file + "." + id + signatureEnd }
