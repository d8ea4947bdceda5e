// Package conformance asks OpenShift's own code what it makes of the objects
// that airlift writes: the schemas of its API, the code that turns mirror sets
// into registries.conf on every node, and the code that reads it there.
//
// It is a module of its own, so that its dependencies are not airlift's.
package conformance
