package bundle

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Finding is one thing wrong with a bundle.
type Finding struct {
	File    string        `json:"file"`             // path as given
	Element string        `json:"element"`          // header, blob, padding, end, file, volume, signature or sum
	Offset  int64         `json:"offset"`           // of the damaged element in the file, bytes
	Length  int64         `json:"length,omitempty"` // of the element in this file, bytes; 0 for a whole file
	Digest  digest.Digest `json:"digest,omitempty"` // of the node or blob concerned
	Problem string        `json:"problem"`
	Images  []string      `json:"images,omitempty"` // references of those that need it

	kind error // ErrDamaged, ErrAbsent or ErrUntrusted
}

func (f Finding) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", f.File)
	if f.Length > 0 {
		fmt.Fprintf(&b, "%s at byte %d, %d bytes: ", f.Element, f.Offset, f.Length)
	}
	b.WriteString(f.Problem)
	if f.Digest != "" {
		fmt.Fprintf(&b, " (%s)", f.Digest)
	}
	if len(f.Images) > 0 {
		fmt.Fprintf(&b, "; needed by %s", listSome(f.Images, 3))
	}
	return b.String()
}

func (f Finding) Unwrap() error { return f.kind }

// joined makes one error of findings, nil for none.
func joined(findings []Finding) error {
	errs := make([]error, len(findings))
	for i, f := range findings {
		errs[i] = f
	}
	return errors.Join(errs...)
}
