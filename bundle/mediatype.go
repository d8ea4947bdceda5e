package bundle

import (
	"errors"
	"fmt"
	"net/http"

	"airlift/oci"
)

// TypeError: a registry refuses a manifest that is whole, and all that it names is
// there: by what it is. Registries say so in several ways, the plainest of which is
// 415; what they all say is MANIFEST_INVALID.
type TypeError struct {
	Host      string
	MediaType string // of the manifest
	Artifact  string // what it holds, if that is no image to run; "" if it is
	err       error
}

func (e *TypeError) Error() string {
	what := e.MediaType
	if e.Artifact != "" {
		what += " with " + e.Artifact
	}
	return fmt.Sprintf("%v: %s takes no manifest of the type %s", e.err, e.Host, what)
}

func (e *TypeError) Unwrap() error { return e.err }

// nameType adds to the refusal of a node which type it is of, if that is why.
func (im *Importer) nameType(n Node, err error) error {
	var answer *oci.StatusError
	if !errors.As(err, &answer) || !oci.IsRefusal(err) ||
		answer.Status != http.StatusUnsupportedMediaType && answer.Code != "MANIFEST_INVALID" && answer.Code != "UNSUPPORTED" {
		return err
	}
	e := &TypeError{Host: im.options.Placement.To.Host, MediaType: n.MediaType, err: err}
	if parsed, parseErr := oci.ParseNode(n.MediaType, im.raw[n.Digest]); parseErr == nil {
		e.Artifact = parsed.Artifact()
	}
	return e
}
