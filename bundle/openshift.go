package bundle

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"airlift/oci"
)

// The registry inside of an OpenShift cluster is no place for what is pulled by
// digest. It knows images by the tags of imagestreams: what is pushed without a
// tag it refuses (openshift/origin, issue 9550), or keeps since 4.13 in no
// imagestream, from where nobody pulls it; so does what a tag named before, once it
// is pruned. And it is a part of the cluster that would have to come up from it.
// Its paths are PROJECT/IMAGESTREAM (openshift/image-registry,
// pkg/dockerregistry/server/util.go, getNamespaceName).

// ClusterRegistryError: the destination is the registry inside of an OpenShift
// cluster, which cannot hold what is to be imported. Nothing was pushed.
type ClusterRegistryError struct {
	Host     string
	ByDigest []string // references by digest; or, if there are none:
	Unfit    []string // paths that are not PROJECT/IMAGESTREAM
}

func (e *ClusterRegistryError) Error() string {
	s := e.Host + " is the registry of an OpenShift cluster"
	if len(e.ByDigest) > 0 {
		return fmt.Sprintf("%s: it keeps what tags of imagestreams name, and no place for %s known by digest: %s", s, images(len(e.ByDigest)), listSome(e.ByDigest, 3))
	}
	return fmt.Sprintf("%s: its paths are PROJECT/IMAGESTREAM, not such as %s", s, listSome(e.Unfit, 3))
}

// fits refuses what a registry of a known kind cannot hold.
func (p Placement) fits(ctx context.Context, client *oci.Client, door oci.Reference, all []placed) error {
	inside := isClusterRegistry(p.To.Host)
	if !inside {
		realm, err := client.TokenRealm(ctx, door)
		if err != nil {
			return err
		}
		inside = isClusterRealm(realm)
	}
	if inside {
		return p.fitsCluster(all)
	}
	return nil
}

// isClusterRegistry knows the registry of a cluster by the names of its service
// and of its default route.
func isClusterRegistry(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return name == "image-registry.openshift-image-registry.svc" || strings.HasPrefix(name, "image-registry.openshift-image-registry.svc.") ||
		strings.HasPrefix(name, "default-route-openshift-image-registry.")
}

// isClusterRealm knows it by where it sends for tokens (openshift/image-registry,
// pkg/dockerregistry/server/configuration, TokenRealm). The header
// X-Registry-Supports-Signatures that it sends, Pulp sends too.
func isClusterRealm(realm string) bool {
	at, err := url.Parse(realm)
	return err == nil && at.Path == "/openshift/token"
}

// fitsCluster refuses what the registry of a cluster cannot hold.
func (p Placement) fitsCluster(all []placed) error {
	e := &ClusterRegistryError{Host: p.To.Host}
	for _, image := range all {
		if ref, err := oci.ParseReference(image.Reference); err == nil && ref.Digest != "" {
			e.ByDigest = append(e.ByDigest, image.Reference)
		}
		for _, to := range p.repositories(image) {
			if depth(to.Repository) != 2 {
				e.Unfit = union(e.Unfit, []string{to.Repository})
			}
		}
	}
	if len(e.ByDigest)+len(e.Unfit) == 0 {
		return nil
	}
	return e
}
