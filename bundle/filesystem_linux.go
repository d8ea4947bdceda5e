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
