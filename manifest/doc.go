// Package manifest reads the documents that say which images belong together
// (a release payload's image-references, imagestreams) and writes the objects
// that make a cluster look for those images in a mirror (mirror sets, the
// samples operator's patch, a piece of install-config). It knows what nodes make
// of such objects: where they look for an image, and what drains them.
//
// The package is pure: bytes in, structs out, and structs in, YAML out. It
// opens no file and no connection.
//
// What it promises:
//
//   - Input is limited to [MaxInput] bytes, and a parser that meets anything it
//     does not understand returns an error: it never guesses, and never panics.
//   - Everything it returns is sorted, and the same structs always give the
//     same bytes of YAML.
//   - YAML is only written for what the cluster's own API would accept: names
//     are checked against the patterns of the CRDs, and lists against the rules
//     of the machine config operator.
//
// What it does not promise: that an image exists, or that a name in an
// imagestream is a valid image reference. Names are passed on as written.
package manifest
