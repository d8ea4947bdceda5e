package bundle

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMaxFileSize: FAT is known by what statfs says of it. No FAT is mounted here:
// not every kernel has it.
func TestMaxFileSize(t *testing.T) {
	for kind, want := range map[int64]int64{
		unix.MSDOS_SUPER_MAGIC: 1<<32 - 1, unix.EXFAT_SUPER_MAGIC: 0, unix.EXT4_SUPER_MAGIC: 0, unix.TMPFS_MAGIC: 0, unix.FUSE_SUPER_MAGIC: 0,
	} {
		if got := maxFileSize(unix.Statfs_t{Type: kind}); got != want {
			t.Errorf("%#x: %d, want %d", kind, got, want)
		}
	}
	if limit, err := MaxFileSize(t.TempDir()); limit != 0 || err != nil {
		t.Errorf("a temporary directory: %d, %v", limit, err)
	}
}
