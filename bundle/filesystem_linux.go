package bundle

import (
	"os"

	"golang.org/x/sys/unix"
)

func maxFileSize(s unix.Statfs_t) int64 {
	if s.Type == unix.MSDOS_SUPER_MAGIC {
		return MaxFATFile
	}
	return 0
}

// dropCache makes the system forget what it holds of a file in memory, as far as
// that is on the medium. It is advice: it never fails.
func dropCache(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// startWriteback makes the system begin to write a range of a file to the medium. It is
// advice: it never fails.
func startWriteback(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
