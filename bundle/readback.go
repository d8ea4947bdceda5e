package bundle

import (
	"context"
	"crypto/ecdsa"
	"slices"

	"airlift/verify"
)

// ReadBack reads a complete medium again, as Check does, and gives its verdict.
// What the system holds of the files in memory is dropped first, so that the
// bytes come from the medium. A medium's own cache cannot be dropped: only
// reading after it was plugged in anew proves more.
func (o *Output) ReadBack(ctx context.Context, key *ecdsa.PrivateKey, progress Progress) error {
	names, err := o.medium.bundleFiles()
	if err != nil {
		return err
	}
	for _, name := range names {
		dropCache(o.medium.path(name))
	}
	b, err := Open([]string{o.medium.dir}, trustOf(key))
	if err != nil {
		return err
	}
	found, err := b.Check(ctx, CheckOptions{Progress: progress})
	if err != nil {
		return err
	}
	return Verdict(slices.DeleteFunc(found, Finding.isElsewhere))
}

// isElsewhere says whether a finding is that a volume was not given.
func (f Finding) isElsewhere() bool { return f.kind == ErrAbsent }

// trustOf trusts a key, or what nobody signed if there is none.
func trustOf(key *ecdsa.PrivateKey) Trust {
	if key == nil {
		return Trust{AllowUnsigned: true}
	}
	return Trust{Keys: []verify.PublicKey{verify.PublicKeyOf(key)}}
}
