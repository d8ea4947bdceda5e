package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key pair is whole or not there, whatever stands in the way of its second file.
func TestWritePairLeavesNothingHalfMade(t *testing.T) {
	dir := t.TempDir()
	secret, public := filepath.Join(dir, "ops.key"), filepath.Join(dir, "ops.pub")
	if err := os.WriteFile(public, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writePair(secret, []byte("s"), public, []byte("p")); err == nil {
		t.Error("overwrote")
	}
	if _, err := os.Lstat(secret); err == nil {
		t.Error("the first file is left")
	}
	if data, err := os.ReadFile(public); err != nil || string(data) != "old" {
		t.Errorf("the old file holds %q, %v", data, err)
	}
}

func TestKeygenSeesWhatIsInTheWay(t *testing.T) {
	none := ""
	withEnv(t, passphraseEnv, &none)
	dir := t.TempDir()
	for _, name := range []string{"a.key", "b.pub"} {
		if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b"} {
		err := keygen(t.Context(), io.Discard, io.Discard, filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), "never overwritten") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left %v, %v", entries, err)
	}
}
