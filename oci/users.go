package oci

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Users are those who may read from a registry, with the hashes of their passwords.
type Users struct {
	hashes map[string][]byte
	dummy  []byte // is compared for who is none of them: that takes as long

	mu    sync.Mutex
	known map[[sha256.Size]byte]bool // names with passwords that were right: bcrypt is slow on purpose
}

// ParseUsers reads a file as htpasswd -B writes it: NAME:HASH a line, with # before
// comments. Hashes of other kinds than bcrypt are refused, and so are lines without a
// name, and a name that stands in two: which password it has must not be a guess.
func ParseUsers(file []byte) (*Users, error) {
	u := &Users{hashes: map[string][]byte{}, known: map[[sha256.Size]byte]bool{}}
	stands := map[string]int{} // names, by their lines
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		switch _, err := bcrypt.Cost([]byte(hash)); {
		case err != nil:
			return nil, fmt.Errorf("line %d: no password of the kind bcrypt, as htpasswd -B makes it", n)
		case name == "":
			return nil, fmt.Errorf("line %d: no name stands before the password", n)
		case stands[name] > 0:
			return nil, fmt.Errorf("line %d: %s stands in line %d already: keep one of them", n, name, stands[name])
		}
		u.hashes[name], u.dummy, stands[name] = []byte(hash), []byte(hash), n
	}
	if len(u.hashes) == 0 && lines.Err() == nil {
		return nil, errors.New("there is no user in it")
	}
	return u, lines.Err()
}

// Guard lets users read from a registry, and nobody else.
func (u *Users) Guard(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if !u.has(name, password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="airlift"`)
			Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "a user and a password are needed")
			return
		}
		registry.ServeHTTP(w, r)
	})
}

func (u *Users) has(name, password string) bool {
	key := sha256.Sum256([]byte(name + "\x00" + password)) // a password with a zero in it is no other's
	u.mu.Lock()
	known := u.known[key]
	u.mu.Unlock()
	if known {
		return true
	}
	hash, there := u.hashes[name]
	if !there {
		hash = u.dummy
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !there {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[key] = true
	return true
}
