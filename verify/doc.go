// Package verify knows trust: keys, signatures and checksum files. It uses the
// standard library only, so that what decides whether a bundle is believed can
// be read in one sitting.
//
//   - Keys are ECDSA on P-256 in PEM: PKCS#8 ("PRIVATE KEY") and SubjectPublicKeyInfo
//     ("PUBLIC KEY"), the forms that openssl writes and a FIPS host accepts.
//   - A signature is ASN.1 DER over the SHA-256 of a file, so that
//     openssl dgst -sha256 -verify NAME.pub -signature FILE.ID.sig FILE checks it.
//   - A key's id is the first 16 hex digits of the SHA-256 of its public DER form.
//     It finds a signature's file; it never decides anything. The trusted key
//     alone decides the algorithm.
//   - Signing is deterministic (RFC 6979): the same key and file give the same bytes.
//   - A checksum file is what sha256sum writes and reads, parsed without tolerance:
//     exactly the expected names, in order, one LF-ended line each.
package verify
