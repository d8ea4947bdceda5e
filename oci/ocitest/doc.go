// Package ocitest is the world that tests and the demo run against: a real
// registry, a registry in memory, a proxy that misbehaves, and images built
// from nothing.
//
// Everything built is deterministic: the same calls give the same bytes, and
// so the same digests, on every machine. Layer contents come from seeds, times
// are fixed, and the compressors are pinned by go.mod rather than by the Go
// release.
//
// What a [Builder] pushes it pushes over plain requests, without the client
// that is under test.
package ocitest
