package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	configv1 "github.com/openshift/api/config/v1"
	"github.com/openshift/runtime-utils/pkg/registries"
	"sigs.k8s.io/yaml"
)

// Cluster knows where the nodes of a cluster look for images.
type Cluster struct {
	// Conf is the path of the nodes' registries.conf, which skopeo and podman
	// read too.
	Conf string

	system *types.SystemContext
}

// Place is where a node looks for an image.
type Place struct {
	Reference string // with registry and repository as they are asked for
	Insecure  bool   // over plain HTTP, or without a known certificate
	Blocked   bool   // not asked: a pull fails here
}

// NewCluster writes registries.conf into a new directory below dir as the
// machine config operator does, from mirror sets in YAML. The scopes in insecure
// are what image.config.openshift.io/cluster has in insecureRegistries.
//
// The operator's own checks of mirror sets are not run.
func NewCluster(dir string, insecure []string, mirrorSets ...[]byte) (*Cluster, error) {
	digests, tags, err := decodeMirrorSets(mirrorSets)
	if err != nil {
		return nil, err
	}
	conf := sysregistriesv2.V2RegistriesConf{
		UnqualifiedSearchRegistries: []string{"registry.access.redhat.com", "docker.io"},
	}
	if err := registries.EditRegistriesConfig(&conf, insecure, nil, nil, digests, tags); err != nil {
		return nil, fmt.Errorf("edit registries.conf: %w", err)
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(conf); err != nil {
		return nil, fmt.Errorf("encode registries.conf: %w", err)
	}
	// The library keeps what it has read by the path.
	own, err := os.MkdirTemp(dir, "cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Conf: filepath.Join(own, "registries.conf")}
	c.system = &types.SystemContext{SystemRegistriesConfPath: c.Conf, SystemRegistriesConfDirPath: os.DevNull}
	if err := os.WriteFile(c.Conf, text.Bytes(), 0o644); err != nil {
		return nil, err
	}
	_, err = sysregistriesv2.GetRegistries(c.system)
	return c, err
}

func decodeMirrorSets(texts [][]byte) (digests []*configv1.ImageDigestMirrorSet, tags []*configv1.ImageTagMirrorSet, err error) {
	for _, text := range texts {
		object, err := decode(text)
		if err != nil {
			return nil, nil, err
		}
		switch object["kind"] {
		case "ImageDigestMirrorSet":
			set := new(configv1.ImageDigestMirrorSet)
			err = yaml.UnmarshalStrict(text, set)
			digests = append(digests, set)
		case "ImageTagMirrorSet":
			set := new(configv1.ImageTagMirrorSet)
			err = yaml.UnmarshalStrict(text, set)
			tags = append(tags, set)
		default:
			err = fmt.Errorf("%v is no mirror set", object["kind"])
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return digests, tags, nil
}

// Places lists where a node looks for an image, in order; the first that has
// the manifest serves all of the image. The reference needs its registry
// ("docker.io/library/busybox:1").
func (c *Cluster) Places(ref string) ([]Place, error) {
	named, err := reference.ParseNamed(ref)
	if err != nil {
		return nil, err
	}
	named = reference.TagNameOnly(named)
	registry, err := sysregistriesv2.FindRegistry(c.system, named.Name())
	if err != nil {
		return nil, err
	}
	if registry == nil {
		return []Place{{Reference: named.String()}}, nil
	}
	sources, err := registry.PullSourcesFromReference(named)
	if err != nil {
		return nil, err
	}
	var places []Place
	for _, s := range sources {
		// As the docker client does when it opens an endpoint.
		itself, err := sysregistriesv2.FindRegistry(c.system, s.Reference.Name())
		if err != nil {
			return nil, err
		}
		places = append(places, Place{s.Reference.String(), s.Endpoint.Insecure, itself != nil && itself.Blocked})
	}
	return places, nil
}
