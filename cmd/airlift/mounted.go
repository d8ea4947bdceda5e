package main

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// unplugged says whether a directory that a medium was mounted on has none any more,
// and where that was: what was written there now would go to the disk of the host.
func (x *exporting) unplugged(dir string) (mount string) {
	now := mountPoint(dir)
	for _, medium := range x.used {
		if medium.dir == dir && medium.mount != now && now != "" && strings.HasPrefix(medium.mount, strings.TrimSuffix(now, "/")+"/") {
			mount = medium.mount
		}
	}
	return mount
}

// mountPoint is the directory, without links, that the file system of a directory is
// mounted on; "" if that cannot be found out.
func mountPoint(dir string) string {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return ""
	}
	var here, above unix.Stat_t
	if unix.Stat(dir, &here) != nil {
		return ""
	}
	for up := filepath.Dir(dir); up != dir; dir, up = up, filepath.Dir(up) {
		if unix.Stat(up, &above) != nil || above.Dev != here.Dev {
			break
		}
	}
	return dir
}
