package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/youmark/pkcs8"

	"airlift/verify"
)

// maxKeyFile is the largest key file that is read, in bytes.
const maxKeyFile = 64 << 10

// encryptedKey is the PEM type of a PKCS#8 key behind a passphrase.
const encryptedKey = "ENCRYPTED PRIVATE KEY"

// encryption is PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC, which every
// openssl since 1.1 reads, in FIPS mode too (a salt of 16 bytes or more).
var encryption = &pkcs8.Opts{
	Cipher:  pkcs8.AES256CBC,
	KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: crypto.SHA256},
}

// openKey reads a signing key and asks for its passphrase where it has one, so
// it is called before any long work.
func openKey(ctx context.Context, name string) (*ecdsa.PrivateKey, error) {
	data, err := readKeyFile(name)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	key, err := verify.ParsePrivateKey(data)
	if errors.Is(err, verify.ErrEncrypted) {
		key, err = decryptKey(ctx, name, data)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", name, err)
	}
	return key, nil
}

// openPublicKeys reads the keys whose signatures are trusted.
func openPublicKeys(names []string) ([]verify.PublicKey, error) {
	var keys []verify.PublicKey
	for _, name := range names {
		data, err := readKeyFile(name)
		if err != nil {
			return nil, fmt.Errorf("read trusted key: %w", err)
		}
		key, err := verify.ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("read trusted key %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readKeyFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s is too large for a key", name)
	}
	return data, err
}

func decryptKey(ctx context.Context, name string, data []byte) (*ecdsa.PrivateKey, error) {
	passphrase, err := askPassphrase(ctx, os.Stdin, os.Stderr, "Passphrase of "+name+": ")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	der, err := decrypt(block.Bytes, passphrase)
	if err != nil {
		return nil, err
	}
	return verify.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// decrypt gives the PKCS#8 form within an encrypted one.
func decrypt(der, passphrase []byte) (plain []byte, err error) {
	defer func() { // the library panics where the ciphertext is cut or the IV has another length
		if recover() != nil {
			err = errors.New("the file is damaged")
		}
	}()
	if len(passphrase) == 0 { // to the library this means: not encrypted
		return nil, errors.New("the key has a passphrase, and an empty one was given")
	}
	key, _, err := pkcs8.ParsePrivateKey(der, passphrase)
	if err != nil && err.Error() == "pkcs8: incorrect password" {
		return nil, errors.New("wrong passphrase")
	}
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// encodeKey is the PEM form of a signing key, encrypted unless the passphrase is empty.
func encodeKey(key *ecdsa.PrivateKey, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return verify.MarshalPrivateKey(key)
	}
	der, err := pkcs8.MarshalPrivateKey(key, passphrase, encryption)
	if err != nil {
		return nil, fmt.Errorf("encrypt private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedKey, Bytes: der}), nil
}
