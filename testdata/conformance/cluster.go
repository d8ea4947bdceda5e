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
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
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
	return blockingCluster(dir, insecure, nil, mirrorSets)
}

// blockingCluster is NewCluster with blockedRegistries too.
func blockingCluster(dir string, insecure, blocked []string, mirrorSets [][]byte) (*Cluster, error) {
	conf, err := registriesConf(insecure, blocked, mirrorSets)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(conf); err != nil {
		return nil, fmt.Errorf("encode registries.conf: %w", err)
	}
	return newCluster(dir, text.Bytes())
}

// registriesConf is what the operator makes of mirror sets in YAML.
func registriesConf(insecure, blocked []string, mirrorSets [][]byte) (sysregistriesv2.V2RegistriesConf, error) {
	conf := sysregistriesv2.V2RegistriesConf{
		UnqualifiedSearchRegistries: []string{"registry.access.redhat.com", "docker.io"},
	}
	sets, err := decodeMirrorSets(mirrorSets)
	if err != nil {
		return conf, err
	}
	if err := registries.EditRegistriesConfig(&conf, insecure, blocked, sets.policies, sets.digests, sets.tags); err != nil {
		return conf, fmt.Errorf("edit registries.conf: %w", err)
	}
	return conf, nil
}

// newCluster is a cluster whose nodes have this registries.conf.
func newCluster(dir string, text []byte) (*Cluster, error) {
	// The library keeps what it has read by the path.
	own, err := os.MkdirTemp(dir, "cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Conf: filepath.Join(own, "registries.conf")}
	c.system = &types.SystemContext{SystemRegistriesConfPath: c.Conf, SystemRegistriesConfDirPath: os.DevNull}
	if err := os.WriteFile(c.Conf, text, 0o644); err != nil {
		return nil, err
	}
	_, err = sysregistriesv2.GetRegistries(c.system)
	return c, err
}

type mirrorSets struct {
	digests  []*configv1.ImageDigestMirrorSet
	tags     []*configv1.ImageTagMirrorSet
	policies []*operatorv1alpha1.ImageContentSourcePolicy
}

func decodeMirrorSets(texts [][]byte) (sets mirrorSets, err error) {
	for _, text := range texts {
		object, err := decode(text)
		if err != nil {
			return sets, err
		}
		switch object["kind"] {
		case "ImageDigestMirrorSet":
			set := new(configv1.ImageDigestMirrorSet)
			err = yaml.UnmarshalStrict(text, set)
			sets.digests = append(sets.digests, set)
		case "ImageTagMirrorSet":
			set := new(configv1.ImageTagMirrorSet)
			err = yaml.UnmarshalStrict(text, set)
			sets.tags = append(sets.tags, set)
		case "ImageContentSourcePolicy":
			set := new(operatorv1alpha1.ImageContentSourcePolicy)
			err = yaml.UnmarshalStrict(text, set)
			sets.policies = append(sets.policies, set)
		default:
			err = fmt.Errorf("%v is no mirror set", object["kind"])
		}
		if err != nil {
			return sets, err
		}
	}
	return sets, nil
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
