// Package conformance asks OpenShift's own code what it makes of the objects
// that airlift writes: the schemas of its API, the code that turns mirror sets
// into registries.conf on every node, and the code that reads it there. And it
// carries into every kind of registry that there is.
//
// It is a module of its own, so that its dependencies are not airlift's. It is
// built without cgo (CGO_ENABLED=0): runtime-utils needs the old home of
// containers/image and airlift has the new one, whose C code has the same names.
package conformance
