package ocitest

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the process when a test is killed before
// its cleanup, as it is by a timeout.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
