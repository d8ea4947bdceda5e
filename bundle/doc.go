// Package bundle knows the medium: it plans what to carry, writes it as a
// signed bundle into a directory, opens and checks such directories, brings
// their images into a registry, serves them as one, and writes the objects that
// make a cluster use that registry. docs/format.md describes the bundle to the byte.
//
// What it promises:
//
//   - Plan is the only place that resolves. What follows from an inventory never
//     changes because a tag moved.
//   - The same content gives the same archive, whenever, from whichever mirror
//     and under whichever key it is exported. The archive's layout is a pure
//     function of the inventory; export, check and import compute where each byte
//     is, and nothing parses the tar.
//   - Export only appends; only Repair writes into what is there. What a source gives is hashed before it counts; wrong
//     bytes are cut off again. At every instant a directory with a signed
//     bundle.json says truly what it is, and one with a signed SHA256SUMS is
//     complete. A directory that holds anything of another bundle is refused and
//     left as it was. One export at a time is at work in a directory.
//   - An export that ended in whatever way goes on where it was, from what was
//     durable then, and ends as if nothing had been. Its checkpoint may lag behind
//     the medium, and never runs ahead of it.
//   - Memory for fetching is bounded, whatever the size of blobs.
//   - Open and OpenStream are the only doors to a bundle. Nothing is parsed, and no
//     connection is made, before a trusted key's signature over bundle.json fits.
//   - Check finds every changed byte of every file that was given, and reports all
//     damage.
//   - Sign vouches for what it has read to the last byte, and touches no file but
//     signatures of its own key. Running it again is safe.
//   - What is missing or left out is recorded in the inventory, with what needs it, and
//     nothing of it is in the archive. No release is without any part that is missing.
//   - Import never writes a tag that names an incomplete image, but of a list that the
//     inventory says is sparse, where the registry takes that; nor one of a release
//     whose components are not all there; it never lets a registry keep content whose
//     digest was not checked. What can be known beforehand is refused before the first
//     connection. Running it again is safe. Media may come in any order, each in an
//     import of its own; what comes as a stream needs no space.
//   - Serve gives out what was signed: it hashes every blob before the last of it is
//     sent for the first time, and says why what is not there is not.
//   - An increment leaves out blobs that the far side has, never nodes. Its content
//     and its id are those of a complete bundle. Import pushes nothing of it unless the
//     registry says to have all that is left out.
//   - What an earlier bundle or a receipt says is believed only after a signature over
//     it fits, or with leave.
//   - Objects are written whole or not at all, for what the registry holds: this
//     import and the earlier ones whose report lies beside them.
//
// What it does not promise: that a medium keeps what was written and synced (only
// reading it again after it was plugged in again shows that); that a bundle is the
// newest one, beyond what the receipt of earlier imports tells; that a registry keeps what it has accepted; that what a source
// served under a tag is what its vendor meant.
//
// The limits are the constants of format.go, oci.MaxNodeSize and
// verify.MaxSignatureSize; writing and reading obey the same.
package bundle
