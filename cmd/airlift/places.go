package main

import (
	"errors"
	"fmt"
	"strings"

	"airlift/bundle"
)

// placesHint says what to do where a registry does not let be pushed into the
// places that an import needs, or does not take what is pushed there.
func placesHint(err error) string {
	var closed *bundle.ClosedError
	var inside *bundle.ClusterRegistryError
	var kind *bundle.TypeError
	switch {
	case errors.As(err, &closed):
		return closedHint(closed)
	case errors.As(err, &inside) && len(inside.ByDigest) > 0:
		return "import into a registry outside of the cluster, such as mirror-registry or Quay"
	case errors.As(err, &inside):
		return "--to HOST/PROJECT with --max-nested-paths 2 makes paths of two components; the project must be there"
	case errors.As(err, &kind):
		return typeHint(kind)
	}
	return ""
}

// closedHint: the way that fits what is refused comes first.
func closedHint(e *bundle.ClosedError) string {
	switch {
	case e.Page != nil:
		return pageHint
	case e.Lookup != nil:
		return noCredentials(e.Lookup)
	}
	if e.MaxNestedPaths > 0 {
		return fmt.Sprintf("if paths are too deep for the registry: --max-nested-paths %d folds them", e.MaxNestedPaths)
	}
	first := ""
	if e.Surveyed {
		first = "if the account (--authfile) may create repositories there, import all the same: that asks for leave before it pushes anything; else "
	}
	if len(e.Namespaces) == 0 {
		return first + "create these repositories, or have the account (--authfile) granted to push there"
	}
	hint := first + fmt.Sprintf("create %s there as projects or organisations, or whatever the registry calls them, and have the account (--authfile) granted to push into them",
		strings.Join(e.Namespaces, ", "))
	if e.To.Path == "" {
		hint += fmt.Sprintf("; or put everything into one that is there: --to %s/PREFIX", e.To.Host)
	}
	return hint
}

// typeHint: the bytes of an image are what its digest is of, so the registry has to
// take them as they are.
func typeHint(e *bundle.TypeError) string {
	switch {
	case e.Artifact != "":
		return "images keep their digests, so nothing is converted; allow such content there: Quay has FEATURE_GENERAL_OCI_SUPPORT, ALLOWED_OCI_ARTIFACT_TYPES and IGNORE_UNKNOWN_MEDIATYPES for it"
	case strings.HasPrefix(e.MediaType, "application/vnd.docker."):
		return `images keep their digests, so nothing is converted; allow Docker's types there: zot does with "http": {"compat": ["docker2s2"]}`
	}
	return "images keep their digests, so nothing is converted; a registry that does not know OCI's types needs an update: distribution knows them since 2.7"
}
