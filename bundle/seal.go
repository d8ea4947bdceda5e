package bundle

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"slices"

	"airlift/verify"
)

// label writes all that comes before the payload: who finds the medium knows
// what it is, and that it is not finished.
func (x *export) label(m medium) error {
	if err := m.write(CheckpointFile, nil); err != nil {
		return err
	}
	if err := m.write(ReadmeFile, x.readme); err != nil {
		return err
	}
	if err := m.write(InventoryFile, x.bytes); err != nil {
		return err
	}
	return x.sign(m, InventoryFile, x.bytes)
}

func (x *export) sign(m medium, name string, contents []byte) error {
	signed, err := x.signature(name, contents)
	if err != nil {
		return err
	}
	for _, f := range signed {
		if err := m.write(f.name, f.contents); err != nil {
			return err
		}
	}
	return nil
}

// file is a small file of a bundle.
type file struct {
	name     string
	contents []byte
}

// signature is the signature over a file, none if nobody signs.
func (x *export) signature(name string, contents []byte) ([]file, error) {
	if x.options.Key == nil {
		return nil, nil
	}
	signature, err := verify.Sign(x.options.Key, contents)
	return []file{{signatureFile(name, keyID(x.options.Key)), signature}}, err
}

// keyID is the id of a key, "" of none.
func keyID(key *ecdsa.PrivateKey) string {
	if key == nil {
		return ""
	}
	return verify.PublicKeyOf(key).ID()
}

// seal writes the sums and their signature, and then takes the checkpoint away:
// the medium is complete.
func (x *export) seal(files *volumeFiles, volumes []verify.Sum) error {
	if err := files.removeFrom(files.part.to); err != nil { // one that was begun, and does not fit
		return err
	}
	if !files.complete(volumes) {
		return fmt.Errorf("seal %s: the sums of its volumes are not known", files.dir)
	}
	if err := x.writeSums(files.medium, volumes); err != nil {
		return err
	}
	return files.remove(CheckpointFile)
}

// writeSums says of a medium that it is complete.
func (x *export) writeSums(m medium, volumes []verify.Sum) error {
	contents := x.sums(volumes)
	if err := m.write(SumsFile, contents); err != nil {
		return err
	}
	return x.sign(m, SumsFile, contents)
}

// sums is SHA256SUMS for some volumes.
func (x *export) sums(volumes []verify.Sum) []byte {
	return verify.FormatSums(append([]verify.Sum{
		{Name: ReadmeFile, SHA256: sha256.Sum256(x.readme)},
		{Name: InventoryFile, SHA256: sha256.Sum256(x.bytes)},
	}, volumes...))
}

// complete says whether a medium is sealed with all volumes of a part. One that
// is sealed with other volumes than the part begins with is refused.
func (x *export) complete(m medium, p part) (bool, error) {
	if m.has(CheckpointFile) || !m.has(SumsFile) {
		return false, nil
	}
	sums, err := x.sealed(m)
	if err != nil {
		return false, err
	}
	for i, v := range p.volumes() {
		if i == len(sums) {
			return false, nil
		}
		if sums[i].Name != volumeName(v, x.layout.Volumes()) {
			return false, fmt.Errorf("%w: %s holds another part of this bundle (%s is in its %s)", ErrUsage, m.dir, sums[i].Name, SumsFile)
		}
		if start, end := x.layout.volume(v); m.size([]string{sums[i].Name}) != end-start {
			return false, fmt.Errorf("%w: %s was complete, and %s is gone or has another size", ErrDamaged, m.dir, sums[i].Name)
		}
	}
	return true, nil
}

// sealed gives the volumes in a medium's sums, which we have signed.
func (x *export) sealed(m medium) ([]verify.Sum, error) {
	contents, err := readSmall(m.path(SumsFile), maxSumsSize)
	if err != nil {
		return nil, err
	}
	if _, _, err := trustOf(x.options.Key).signatures([]string{m.dir}, SumsFile, contents); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUsage, m.dir, err)
	}
	sums, err := verify.ParseSums(contents, sumNames(x.inv, contents))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, m.path(SumsFile), err)
	}
	return sums[2:], nil
}

// unseal makes a medium unfinished, if it is not, so that more can be written.
func (x *export) unseal(m medium) error {
	if !m.has(CheckpointFile) {
		if err := m.write(CheckpointFile, nil); err != nil {
			return err
		}
	}
	names, err := m.bundleFiles()
	if err != nil {
		return err
	}
	var seals []string
	for _, name := range names {
		if isSignatureOf(SumsFile, name) {
			seals = append(seals, name)
		}
	}
	if slices.Contains(names, SumsFile) {
		seals = append(seals, SumsFile)
	}
	if seals == nil {
		return nil
	}
	return m.remove(seals...)
}

// relabel makes sure of what label has written. bundle.json and its signature were
// durable before the first volume began.
func (x *export) relabel(m medium) error {
	held, err := readSmall(m.path(InventoryFile), MaxInventorySize)
	if err != nil {
		return err
	}
	if string(held) != string(x.bytes) {
		return fmt.Errorf("%w in %s", ErrUnfinished, m.dir)
	}
	return m.renew(ReadmeFile, x.readme)
}

// sumsSize is the number of bytes of SHA256SUMS.
func sumsSize(inv *Inventory) int {
	names := []string{ReadmeFile, InventoryFile}
	for _, v := range inv.Storage.Volumes {
		names = append(names, v.Name)
	}
	sums := make([]verify.Sum, len(names))
	for i, n := range names {
		sums[i].Name = n
	}
	return len(verify.FormatSums(sums))
}
