package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Sum is one line of a checksum file.
type Sum struct {
	Name   string
	SHA256 [sha256.Size]byte
}

// FormatSums writes sums as sha256sum does: 64 hex digits, two spaces, the name.
// Names must need no escaping.
func FormatSums(sums []Sum) []byte {
	var b strings.Builder
	for _, s := range sums {
		fmt.Fprintf(&b, "%x  %s\n", s.SHA256, s.Name)
	}
	return []byte(b.String())
}

// ParseSums reads a checksum file that must list exactly names, in order. What
// it takes, FormatSums gives back byte for byte: no comments, no blank lines, no
// upper case, no binary marks, no CR.
func ParseSums(data []byte, names []string) ([]Sum, error) {
	rest := string(data)
	sums := make([]Sum, 0, len(names))
	for i, name := range names {
		line, after, ok := strings.Cut(rest, "\n")
		if !ok {
			return nil, fmt.Errorf("line %d: expected the sum of %s", i+1, name)
		}
		sum, err := parseSum(line, name)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		sums, rest = append(sums, sum), after
	}
	if rest != "" {
		return nil, fmt.Errorf("line %d: expected the end", len(names)+1)
	}
	return sums, nil
}

func parseSum(line, name string) (Sum, error) {
	hexed, found := strings.CutSuffix(line, "  "+name)
	raw, err := hex.DecodeString(hexed)
	if !found || err != nil || len(raw) != sha256.Size || hexed != strings.ToLower(hexed) {
		return Sum{}, fmt.Errorf("expected the sum of %s", name)
	}
	return Sum{name, [sha256.Size]byte(raw)}, nil
}
