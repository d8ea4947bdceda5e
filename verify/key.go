package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// IDLength is the number of hex digits in a key id.
const IDLength = 16

const (
	publicBlock    = "PUBLIC KEY"
	privateBlock   = "PRIVATE KEY"
	encryptedBlock = "ENCRYPTED PRIVATE KEY"
)

// ErrEncrypted says that a private key needs a passphrase before it can be parsed.
var ErrEncrypted = errors.New("private key is encrypted")

// PublicKey checks signatures. The zero value checks none.
type PublicKey struct {
	key *ecdsa.PublicKey
	der []byte // SubjectPublicKeyInfo
}

// GenerateKey makes a new signing key.
func GenerateKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// PublicKeyOf is the public half of a signing key.
func PublicKeyOf(key *ecdsa.PrivateKey) PublicKey {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil { // only for curves that GenerateKey and ParsePrivateKey never give
		panic(err)
	}
	return PublicKey{&key.PublicKey, der}
}

// ParsePublicKey reads one PEM "PUBLIC KEY" block holding an ECDSA P-256 key.
func ParsePublicKey(data []byte) (PublicKey, error) {
	der, err := onlyBlock(data, publicBlock)
	if err != nil {
		return PublicKey{}, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse public key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return PublicKey{}, errors.New("parse public key: not an ECDSA P-256 key")
	}
	// The id is of the one canonical encoding, whatever this file's was.
	der, err = x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("encode public key: %w", err)
	}
	return PublicKey{key, der}, nil
}

// ParsePrivateKey reads one PEM "PRIVATE KEY" block (PKCS#8) holding an ECDSA
// P-256 key. An "ENCRYPTED PRIVATE KEY" gives ErrEncrypted.
func ParsePrivateKey(data []byte) (*ecdsa.PrivateKey, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == encryptedBlock {
		return nil, ErrEncrypted
	}
	der, err := onlyBlock(data, privateBlock)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("parse private key: not an ECDSA P-256 key")
	}
	return key, nil
}

// MarshalPrivateKey is the inverse of ParsePrivateKey. It does not encrypt.
func MarshalPrivateKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// ID is the key's id: 16 lower-case hex digits.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.der)
	return hex.EncodeToString(sum[:])[:IDLength]
}

// PEM is the inverse of ParsePublicKey.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: k.der})
}

// onlyBlock gives the DER of a file that holds exactly one PEM block of a kind.
func onlyBlock(data []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("not a PEM file with a %s", kind)
	case block.Type != kind:
		return nil, fmt.Errorf("holds a %s where a %s belongs", printable(block.Type), kind)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, fmt.Errorf("holds more than one %s", kind)
	}
	return block.Bytes, nil
}

func printable(s string) string {
	return strings.Trim(fmt.Sprintf("%.40q", s), `"`)
}
