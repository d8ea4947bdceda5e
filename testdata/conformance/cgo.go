//go:build cgo

package conformance

// With cgo the linker would fail, in many lines and in other words.
var _ = build_with_CGO_ENABLED_0
