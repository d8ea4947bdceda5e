// Package oci knows containers: references, registries, manifests and blobs.
//
// It moves bytes and leaves their meaning to others. What it promises:
//
//   - A node (manifest or index) is given byte for byte, and only if the bytes
//     have the digest that was asked for.
//   - A blob's reader gives exactly as many bytes as its descriptor says and goes
//     on by itself after a broken connection. It does not check the digest: the
//     caller hashes as it writes. ReadFiles and Config do check.
//   - An upload's last bytes are sent only after the reader it comes from has
//     ended without an error, so a reader that checks can stop it.
//   - HTTPS only, but for hosts that were named as insecure. Credentials go to
//     the host and port that they were configured for, and nowhere else.
//   - 404 and 410 mean missing, whatever the body; 401 and 403 mean denied; both
//     are never retried. Connection errors, 408, 429 and 5xx are, with back-off,
//     honouring Retry-After.
//
// References, authentication and its transport are those of go-containerregistry;
// credentials are looked up as podman does, by go.podman.io/image.
package oci
