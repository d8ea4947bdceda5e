package main

import (
	"math"
	"net"

	"golang.org/x/sys/unix"
)

// untaken is how many bytes the kernel holds that the other side has not acknowledged
// (tcp(7), SIOCOUTQ). Its buffer has megabytes, and takes more only when a good part of
// it is free: over a slow link that can take longer than a limit.
func untaken(c *net.TCPConn) int {
	n := math.MaxInt
	raw, err := c.SyscallConn()
	if err != nil {
		return n
	}
	_ = raw.Control(func(fd uintptr) {
		if held, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = held
		}
	})
	return n
}
