package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MaxSignatureSize is the largest DER form of an ECDSA P-256 signature, in bytes:
// two integers of 33 bytes with their headers, inside one sequence.
const MaxSignatureSize = 72

// ErrSignature says that a signature is not this key's over this message.
var ErrSignature = errors.New("signature does not fit")

// Sign signs the SHA-256 of message. The same key and message give the same
// signature (RFC 6979).
func Sign(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	// Without a source of randomness the nonce is derived from key and message.
	signature, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}

// Check gives nil if signature is k's over message, else ErrSignature.
func (k PublicKey) Check(message, signature []byte) error {
	sum := sha256.Sum256(message)
	if k.key == nil || len(signature) > MaxSignatureSize || !ecdsa.VerifyASN1(k.key, sum[:], signature) {
		return ErrSignature
	}
	return nil
}
