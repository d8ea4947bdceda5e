package bundle

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"airlift/manifest"
)

// Where the rest of a cluster's configuration lies under the directory of the
// objects. What is under secret may be read by its owner alone.
const (
	CAFile            = "apply/registry-ca.yaml"
	ImageConfigFile   = "patches/image-config.yaml"
	PullSecretFile    = "secret/pull-secret.json"
	SecretInstallFile = "secret/install-config.fragment.yaml"
)

// caName is the ConfigMap of the registries' certificates in a cluster that has
// none yet.
const caName = "airlift-registry-ca"

// ClusterConfig are the choices about a cluster's configuration of registries.
// None of it is secret.
type ClusterConfig struct {
	RegistryCA string `json:"registryCA,omitempty"`        // PEM, from manifest.Certificates
	Insecure   bool   `json:"insecure,omitempty"`          // nodes may speak plain HTTP to the registry
	Allowed    bool   `json:"allowedRegistries,omitempty"` // list everything that nodes may pull from
	// What the cluster had before; nil if that was not said.
	ImageConfig *manifest.ImageConfig `json:"imageConfig,omitempty"`
	CAConfigMap *manifest.ConfigMap   `json:"caConfigMap,omitempty"`
}

// Over adds to a configuration what an earlier one says and this one does not.
func (c ClusterConfig) Over(earlier ClusterConfig) ClusterConfig {
	c.RegistryCA = cmp.Or(c.RegistryCA, earlier.RegistryCA)
	c.Insecure = c.Insecure || earlier.Insecure
	c.Allowed = c.Allowed || earlier.Allowed
	c.ImageConfig = cmp.Or(c.ImageConfig, earlier.ImageConfig)
	c.CAConfigMap = cmp.Or(c.CAConfigMap, earlier.CAConfigMap)
	return c
}

// Check refuses what does not belong together.
func (c ClusterConfig) Check() error {
	if c.RegistryCA == "" || c.ImageConfig == nil || c.ImageConfig.TrustedCA == "" {
		return nil
	}
	name := c.ImageConfig.TrustedCA
	switch {
	case c.CAConfigMap == nil:
		return fmt.Errorf("%w: the cluster has certificates of registries in the ConfigMap %s already, which would lose them: it is not given", ErrUsage, name)
	case c.CAConfigMap.Name != name:
		return fmt.Errorf("%w: the cluster's additionalTrustedCA is the ConfigMap %s, not %s", ErrUsage, name, c.CAConfigMap.Name)
	}
	return nil
}

// Replaces names the fields that the patch of the image configuration sets
// without knowing what the cluster has there.
func (c ClusterConfig) Replaces() []string {
	if c.ImageConfig != nil {
		return nil
	}
	var fields []string
	for field, set := range map[string]bool{
		"additionalTrustedCA": c.RegistryCA != "" && c.CAConfigMap == nil, "insecureRegistries": c.Insecure, "allowedRegistries": c.Allowed,
	} {
		if set {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// configDrains: registries.conf says which registry is insecure; the list of
// allowed ones and the certificates stand in other files, which drain nothing.
func (o ObjectOptions) configDrains() []string {
	place, err := ParseLocation(o.Cluster)
	if err != nil || !o.Config.Insecure || o.Config.ImageConfig != nil && slices.Contains(o.Config.ImageConfig.Insecure, place.Host) {
		return nil
	}
	return []string{place.Host + " becomes insecure"}
}

// trustedCA is the ConfigMap of certificates with those of the registry.
func (c ClusterConfig) trustedCA(host string) (manifest.ConfigMap, error) {
	held := manifest.ConfigMap{Name: caName}
	if c.CAConfigMap != nil {
		held = *c.CAConfigMap
	}
	return held.WithRegistry(host, []byte(c.RegistryCA))
}

// clusterConfig renders the ConfigMap of certificates and the patch of the image
// configuration.
func (r *Report) clusterConfig(files map[string][]byte) error {
	c := r.Options.Config
	if err := c.Check(); err != nil {
		return err
	}
	place, err := ParseLocation(r.Options.Cluster)
	if err != nil {
		return err
	}
	var add manifest.ImageConfig
	if c.RegistryCA != "" {
		m, err := c.trustedCA(place.Host)
		if err != nil {
			return fmt.Errorf("%w: write %s: %w", ErrUsage, CAFile, err)
		}
		if files[CAFile], err = m.YAML(r.comment()); err != nil {
			return err
		}
		add.TrustedCA = m.Name
	}
	if c.Insecure {
		add.Insecure = []string{place.Host}
	}
	if c.Allowed {
		if add.Allowed, err = r.allowed(files); err != nil {
			return err
		}
	}
	var held manifest.ImageConfig
	if c.ImageConfig != nil {
		held = *c.ImageConfig
	}
	patch, err := manifest.ImageConfigPatch(held, add, r.comment())
	if err != nil {
		return fmt.Errorf("%w: write %s: %w", ErrUsage, ImageConfigFile, err)
	}
	if patch != nil {
		files[ImageConfigFile] = patch
	}
	return nil
}

// allowed is everything that a cluster pulls from: the registry and its further
// mirrors, what the samples operator is told, which looks for exactly that text,
// the sources, by which nodes judge what they pull, and the cluster's own registry.
func (r *Report) allowed(files map[string][]byte) ([]string, error) {
	all := append([]string{r.Options.Cluster, manifest.InternalRegistry}, r.Options.Mirrors...)
	for _, file := range []string{IDMSFile, ITMSFile, ICSPFile} {
		if files[file] == nil {
			continue
		}
		set, err := manifest.ParseMirrorSet(files[file])
		if err != nil {
			return nil, err
		}
		for _, m := range set.Mirrors {
			all = append(all, m.Source)
		}
	}
	if files[SamplesFile] != nil {
		patch, err := manifest.ParseSamplesPatch(files[SamplesFile])
		if err != nil {
			return nil, err
		}
		if patch.Registry != "" {
			all = append(all, patch.Registry)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// trustBundle adds the registry's certificates to the install-config fragment.
func (r *Report) trustBundle(files map[string][]byte) error {
	if r.Options.Config.RegistryCA == "" {
		return nil
	}
	text, err := manifest.TrustBundleFragment([]byte(r.Options.Config.RegistryCA))
	files[InstallFile] = append(files[InstallFile], text...)
	return err
}

// WritePullSecret writes a pull secret, as manifest.PullSecret makes it, and the
// line of an install-config with it, for their owner alone. They are no part of
// the report. It gives the names of the files.
func WritePullSecret(dir string, secret []byte) ([]string, error) {
	fragment, err := manifest.PullSecretFragment(secret)
	if err != nil {
		return nil, err
	}
	for name, contents := range map[string][]byte{PullSecretFile: secret, SecretInstallFile: fragment} {
		if err := replaceFileMode(filepath.Join(dir, name), contents, 0o600); err != nil {
			return nil, err
		}
	}
	return []string{SecretInstallFile, PullSecretFile}, nil
}
