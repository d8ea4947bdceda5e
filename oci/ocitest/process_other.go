//go:build !linux

package ocitest

import "os/exec"

// dieWithParent does nothing here: a test that is killed leaves its registry
// running.
func dieWithParent(*exec.Cmd) {}
