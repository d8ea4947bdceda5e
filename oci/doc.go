// Package oci speaks to container registries: it reads manifests, indexes and
// blobs byte for byte, and pushes them; and it answers as one.
//
// What it promises:
//   - Nothing from a registry is believed. Manifests are parsed strictly and
//     limited in size; what was asked for by digest has that digest, or is an
//     error. The one exception are [Client.Blob] and [Client.BlobRange], whose
//     caller hashes.
//   - Only HTTPS, with certificates verified, but to hosts that the options
//     name as insecure. Credentials go to the host they were configured for,
//     never along a redirect.
//   - What may succeed when tried again is tried again, with growing waits that
//     honour Retry-After and end with the context. A limit of time applies to
//     waiting for the network alone: neither a slow reader of a blob nor a slow
//     source of an upload is timed out.
//   - Whoever waits is told so ([Options].Notice): by which host, for what, and
//     when something is tried again.
//   - A [Registry] answers what the distribution spec asks of one that can only be
//     read, and writes nothing.
//   - A reader given to [Client.PutBlob] that ends in an error keeps the
//     registry from ever seeing the whole blob. Between the parts of an [Upload]
//     the login may run out and connections may die.
//
// The word manifest means OpenShift's objects elsewhere in this module; an
// image's manifest or index is a [Node] here.
package oci
