package bundle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airlift/verify"
)

// Trust says whose bundles are opened. The zero value opens none.
type Trust struct {
	Keys     []verify.PublicKey // some of them must have signed
	Required int                // how many distinct ones; 0 = 1
	// Signatures are directories with signatures that do not lie on the media, and
	// single files, named as on a medium.
	Signatures    []string
	AllowUnsigned bool // open a bundle that nobody signed
	// Unverified opens anything, to look at it. Nothing may be believed or
	// imported that was opened so.
	Unverified bool

	// signer is the id of a key that is about to sign: a signature of its own may be
	// half-written, and is no objection; nor is it one of a stranger's.
	signer string
}

// signature is one that was found for a file.
type signature struct {
	path     string
	contents []byte
	err      error // it cannot be read
	// aside: it did not lie beside the file, and may be that of another medium's.
	aside bool
}

// signatures gives the trusted keys that signed a file, in any of the
// directories, and the ids of others whose signatures lie there.
func (t Trust) signatures(dirs []string, file string, contents []byte) (signers, unchecked []string, err error) {
	found := map[string][]signature{}
	for _, dir := range dirs {
		if err := t.collect(found, dir, file, false); err != nil {
			return nil, nil, err
		}
	}
	for _, place := range t.Signatures {
		if err := t.collect(found, place, file, true); err != nil {
			return nil, nil, err
		}
	}
	return t.judge(file, contents, found)
}

// collect adds the signatures over a file that lie at a place, by the ids in their
// names. Only those of trusted keys are read.
func (t Trust) collect(found map[string][]signature, place, file string, aside bool) error {
	paths, err := signaturePaths(place)
	if err != nil {
		return err
	}
	for _, path := range paths {
		id, is := signatureID(file, filepath.Base(path))
		if !is {
			continue
		}
		s := signature{path: path, aside: aside}
		if t.knows(id) {
			s.contents, s.err = readSmall(path, verify.MaxSignatureSize)
		}
		found[id] = append(found[id], s)
	}
	return nil
}

// signaturePaths are the files of a directory, or the place itself if it is a
// signature. Another file is refused: by another name nothing is found.
func signaturePaths(place string) ([]string, error) {
	info, err := os.Stat(place)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		for _, file := range []string{InventoryFile, SumsFile} {
			if _, is := signatureID(file, filepath.Base(place)); is {
				return []string{place}, nil
			}
		}
		return nil, fmt.Errorf("%w: %s is neither a directory nor named as signatures are, %s or %s",
			ErrUsage, place, signatureFile(InventoryFile, "ID"), signatureFile(SumsFile, "ID"))
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(place, e.Name()))
	}
	return paths, nil
}

// signatureID is the key id in the name of a signature over a file.
func signatureID(file, name string) (string, bool) {
	if !isSignatureOf(file, name) {
		return "", false
	}
	id := strings.TrimSuffix(strings.TrimPrefix(name, file+"."), signatureEnd)
	return id, len(id) == verify.IDLength && strings.Trim(id, "0123456789abcdef") == ""
}

func (t Trust) knows(id string) bool {
	return slices.ContainsFunc(t.Keys, func(k verify.PublicKey) bool { return k.ID() == id })
}

// judge decides whether a file is trusted, by the signatures that were found for
// it. A trusted key's signature that does not fit is an error even if another's
// does.
func (t Trust) judge(file string, contents []byte, found map[string][]signature) (signers, unchecked []string, err error) {
	for _, key := range t.Keys {
		if t.Unverified || slices.Contains(signers, key.ID()) {
			continue
		}
		signed, err := signedBy(key, file, contents, found[key.ID()])
		if err != nil && key.ID() != t.signer {
			return nil, nil, err
		}
		if signed {
			signers = append(signers, key.ID())
		}
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		if t.Unverified || !t.knows(id) && id != t.signer {
			unchecked = append(unchecked, id)
		}
	}
	return signers, unchecked, t.enough(file, signers, unchecked)
}

// signedBy says whether a key signed a file. A signature file of this key with
// anything else in it is an error, unless it may be that of another medium's.
func signedBy(key verify.PublicKey, file string, contents []byte, found []signature) (bool, error) {
	signed := false
	for _, s := range found {
		err := s.err
		if err == nil {
			err = key.Check(contents, s.contents)
		}
		switch {
		case err == nil:
			signed = true
		case s.err != nil || !s.aside || file != SumsFile:
			return false, fmt.Errorf("%w: %s: %w; %s or its signature was changed", ErrUntrusted, s.path, err, file)
		}
	}
	return signed, nil
}

// enough decides whether the signers are as many as are required.
func (t Trust) enough(file string, signers, unchecked []string) error {
	required := max(t.Required, 1)
	switch {
	case t.Unverified, len(signers) >= required:
		return nil
	case required > 1:
		return t.lacking(file, signers)
	case len(unchecked) > 0:
		return fmt.Errorf("%w: %s is signed by %s only", ErrUntrusted, file, strings.Join(unchecked, ", "))
	case !t.AllowUnsigned:
		return fmt.Errorf("%w: %s has no signature", ErrUntrusted, file)
	}
	return nil
}

// lacking says whose signatures are not there, of several that are required.
func (t Trust) lacking(file string, signers []string) error {
	known := map[string]bool{}
	var others []string
	for _, key := range t.Keys {
		if id := key.ID(); !known[id] && !slices.Contains(signers, id) {
			others = append(others, id)
		}
		known[key.ID()] = true
	}
	return fmt.Errorf("%w: %s is signed by %d of %d trusted keys, and %d are required: not by %s",
		ErrUntrusted, file, len(signers), len(known), t.Required, strings.Join(others, ", "))
}
