package manifest

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// InternalRegistry is the registry inside of every cluster, which a list of
// allowed registries must name, or no build and no stream can be pulled.
const InternalRegistry = "image-registry.openshift-image-registry.svc:5000"

// The limits of the CRD for each of the lists of registrySources.
const (
	maxRegistries   = 1024
	maxRegistryName = 256 // bytes
)

// ImageConfig is what image.config.openshift.io/cluster says of registries, or
// what is to be added to it.
type ImageConfig struct {
	TrustedCA string   `json:"additionalTrustedCA,omitempty"` // a ConfigMap in openshift-config
	Insecure  []string `json:"insecureRegistries,omitempty"`
	Allowed   []string `json:"allowedRegistries,omitempty"`
	Blocked   []string `json:"blockedRegistries,omitempty"` // never added to
}

type imageSpec struct {
	TrustedCA *struct {
		Name string `json:"name"`
	} `json:"additionalTrustedCA,omitempty"`
	Sources *registrySources `json:"registrySources,omitempty"`
}

type registrySources struct {
	Insecure []string `json:"insecureRegistries,omitempty"`
	Allowed  []string `json:"allowedRegistries,omitempty"`
	Blocked  []string `json:"blockedRegistries,omitempty"`
}

// ParseImageConfig reads what `oc get image.config.openshift.io/cluster -o yaml`
// prints. Fields that are of no interest here are passed over: a merge patch
// leaves them alone.
func ParseImageConfig(data []byte) (ImageConfig, error) {
	text, err := single(data)
	if err != nil {
		return ImageConfig{}, err
	}
	var object struct {
		header
		Spec imageSpec `json:"spec"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return ImageConfig{}, errors.New("it is not an Image configuration")
	}
	if object.Kind != "Image" || object.APIVersion != "config.openshift.io/v1" {
		return ImageConfig{}, fmt.Errorf("it is %s of %.80q, not an Image of config.openshift.io/v1", article(object.Kind), object.APIVersion)
	}
	return object.Spec.config(), nil
}

// ImageConfigPatch returns a merge patch of image.config.openshift.io/cluster
// that adds to what the cluster has: a merge patch replaces whole lists, so that
// those of held stand in front of what is added. What add leaves empty is not in
// the patch. It is nil if nothing is to be added.
//
// An error is: another ConfigMap than the one that the cluster has; a list of
// allowed registries beside one of blocked ones, which clusters refuse; an entry
// to be added that is blocked; and a list that is longer than the API takes.
func ImageConfigPatch(held, add ImageConfig, comment string) ([]byte, error) {
	if err := checkImageConfig(held, add); err != nil {
		return nil, err
	}
	var spec imageSpec
	if add.TrustedCA != "" {
		spec.TrustedCA = &struct {
			Name string `json:"name"`
		}{add.TrustedCA}
	}
	if len(add.Insecure)+len(add.Allowed) > 0 {
		spec.Sources = &registrySources{}
		for _, list := range []struct {
			to        *[]string
			held, add []string
		}{{&spec.Sources.Insecure, held.Insecure, add.Insecure}, {&spec.Sources.Allowed, held.Allowed, add.Allowed}} {
			var err error
			if *list.to, err = extended(list.held, list.add); err != nil {
				return nil, err
			}
		}
	}
	if spec == (imageSpec{}) {
		return nil, nil
	}
	text, err := yaml.Marshal(map[string]imageSpec{"spec": spec})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(comment, text), nil
}

// Patched is the configuration after a merge patch, whose lists replace lists.
func (c ImageConfig) Patched(p ImageConfig) ImageConfig {
	c.TrustedCA = cmp.Or(p.TrustedCA, c.TrustedCA)
	for _, list := range []struct {
		of *[]string
		by []string
	}{{&c.Insecure, p.Insecure}, {&c.Allowed, p.Allowed}, {&c.Blocked, p.Blocked}} {
		if list.by != nil {
			*list.of = list.by
		}
	}
	return c
}

func checkImageConfig(held, add ImageConfig) error {
	switch {
	case add.TrustedCA != "" && held.TrustedCA != "" && add.TrustedCA != held.TrustedCA:
		return fmt.Errorf("the cluster's additionalTrustedCA is %.253q, not %q", held.TrustedCA, add.TrustedCA)
	case len(held.Blocked) > 0 && len(add.Allowed) > 0:
		return fmt.Errorf("the cluster has blockedRegistries (%.200q and so on), which exclude allowedRegistries: a cluster has one of the two lists", held.Blocked[0])
	}
	for _, name := range slices.Concat(add.Insecure, add.Allowed) {
		if err := CheckSource(name); err != nil {
			return err
		}
		for _, blocked := range held.Blocked {
			if Covers(blocked, name) {
				return fmt.Errorf("%.200q is among the cluster's blockedRegistries, as %.200q", name, blocked)
			}
		}
	}
	return nil
}

// extended is a list with what is added to it, sorted, that it does not have. It
// is empty if nothing is added.
func extended(held, add []string) ([]string, error) {
	if len(add) == 0 {
		return nil, nil
	}
	all := slices.Clone(held)
	for _, name := range slices.Sorted(slices.Values(add)) {
		if len(name) > maxRegistryName {
			return nil, fmt.Errorf("%.300q is longer than %d bytes", name, maxRegistryName)
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > maxRegistries {
		return nil, fmt.Errorf("the list has %d registries; the API takes %d", len(all), maxRegistries)
	}
	return all, nil
}

// Covers says whether an entry of registrySources is for a repository, namespace
// or registry: it is that one, one above it, or "*.host" for a host below, with any
// port (containers/image, DockerReferenceNamespaces). Elsewhere a port is part of a
// host.
func Covers(entry, name string) bool {
	if domain, wild := strings.CutPrefix(entry, "*"); wild {
		host, _, _ := strings.Cut(name, "/")
		host, _, _ = strings.Cut(host, ":")
		return strings.HasPrefix(domain, ".") && strings.HasSuffix(host, domain)
	}
	rest, found := strings.CutPrefix(name, entry)
	return found && (rest == "" || rest[0] == '/')
}

// ConfigMap is one in openshift-config that holds certificates of registries.
type ConfigMap struct {
	Name string            `json:"name"`
	Data map[string]string `json:"data"`
}

const configNamespace = "openshift-config"

var dataKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// ParseConfigMap reads what `oc get configmap NAME -n openshift-config -o yaml`
// prints.
func ParseConfigMap(data []byte) (ConfigMap, error) {
	text, err := single(data)
	if err != nil {
		return ConfigMap{}, err
	}
	var object struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Data       map[string]string          `json:"data"`
		BinaryData map[string]json.RawMessage `json:"binaryData"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return ConfigMap{}, errors.New("it is not a ConfigMap")
	}
	switch {
	case object.Kind != "ConfigMap" || object.APIVersion != "v1":
		return ConfigMap{}, fmt.Errorf("it is %s of %.80q, not a ConfigMap of v1", article(object.Kind), object.APIVersion)
	case object.Metadata.Namespace != configNamespace:
		return ConfigMap{}, fmt.Errorf("its namespace is %.80q, not %s", object.Metadata.Namespace, configNamespace)
	case len(object.BinaryData) > 0:
		return ConfigMap{}, errors.New("it has binaryData, where nobody looks for certificates")
	}
	m := ConfigMap{Name: object.Metadata.Name, Data: object.Data}
	return m, m.check()
}

func (m ConfigMap) check() error {
	if len(m.Name) > 253 || !objectName.MatchString(m.Name) {
		return fmt.Errorf("%.80q is not a name of an object", m.Name)
	}
	for key := range m.Data {
		if !dataKey.MatchString(key) {
			return fmt.Errorf("%.80q is not a key of a ConfigMap", key)
		}
	}
	return nil
}

// YAML returns the ConfigMap.
func (m ConfigMap) YAML(comment string) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata":   map[string]string{"name": m.Name, "namespace": configNamespace},
		"data":       m.Data,
	})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(comment, text), nil
}

// updateServiceKey is where the update service looks for the certificates of its
// registry, whatever that is called.
const updateServiceKey = "updateservice-registry"

// RegistryKey is a registry's key in a ConfigMap of certificates: its host, and
// two dots and the port if it has one, since keys have no colons.
func RegistryKey(host string) string { return strings.Replace(host, ":", "..", 1) }

// WithRegistry returns the ConfigMap with certificates (from [Certificates]) added
// for a registry, HOST[:PORT], and for the update service. What it has is kept; certificates
// that a key has already are not added again.
func (m ConfigMap) WithRegistry(host string, certificates []byte) (ConfigMap, error) {
	with := ConfigMap{Name: m.Name, Data: map[string]string{}}
	for key, value := range m.Data {
		with.Data[key] = value
	}
	for _, key := range []string{RegistryKey(host), updateServiceKey} {
		value, err := addCertificates(with.Data[key], certificates)
		if err != nil {
			return ConfigMap{}, fmt.Errorf("key %s: %w", key, err)
		}
		with.Data[key] = value
	}
	return with, with.check()
}

// addCertificates adds certificates to a value, which may be PEM, or all of it
// base64 of that, as nodes take it too.
func addCertificates(value string, certificates []byte) (string, error) {
	if strings.TrimSpace(value) == "" {
		return string(certificates), nil
	}
	if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value)); err == nil {
		value = string(plain)
	}
	held, err := Certificates([]byte(value))
	if err != nil {
		return "", err
	}
	for block, rest := pem.Decode(certificates); block != nil; block, rest = pem.Decode(rest) {
		if one := pem.EncodeToMemory(block); !strings.Contains(string(held), string(one)) {
			held = append(held, one...)
		}
	}
	return string(held), nil
}

// RegistryCertificates returns the certificates that the ConfigMap has for a
// registry, HOST[:PORT]; none if it has none.
func (m ConfigMap) RegistryCertificates(host string) ([]byte, error) {
	value, found := m.Data[RegistryKey(host)]
	if !found {
		return nil, nil
	}
	text, err := addCertificates(value, nil)
	return []byte(text), err
}

// Certificates checks a file of CA certificates and returns them alone, without
// what people write between them. Anything else in PEM is an error, above all a
// private key: what is returned goes to every node. Errors quote nothing.
func Certificates(data []byte) ([]byte, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxInput)
	}
	data = utf8Text(data)
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("it holds a private key, which must not leave its owner")
	}
	var all []byte
	rest := data
	for n := 1; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d of it is no certificate", n)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("block %d of it is no certificate that can be read", n)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	switch {
	case strings.Contains(string(rest), "-----BEGIN"):
		return nil, errors.New("a block of it is damaged")
	case all == nil:
		return nil, errors.New("it holds no certificate in PEM")
	}
	return all, nil
}

// TrustBundleFragment returns the part of an install-config that makes a new
// cluster trust certificates (from [Certificates]) from the beginning. The policy
// is said, since without it they count for proxies only.
func TrustBundleFragment(certificates []byte) ([]byte, error) {
	text, err := yaml.Marshal(map[string]string{
		"additionalTrustBundle": string(certificates), "additionalTrustBundlePolicy": "Always",
	})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return text, nil
}

// ParseImageConfigPatch reads what [ImageConfigPatch] wrote, edited by hand or
// not. Fields that it does not write are errors.
func ParseImageConfigPatch(data []byte) (ImageConfig, error) {
	text, err := single(data)
	if err != nil {
		return ImageConfig{}, err
	}
	var object struct {
		Spec imageSpec `json:"spec"`
	}
	if err := decodeStrict(text, &object); err != nil {
		return ImageConfig{}, fmt.Errorf("decode: %w", err)
	}
	return object.Spec.config(), nil
}

// config is what a spec says.
func (s imageSpec) config() (c ImageConfig) {
	if s.TrustedCA != nil {
		c.TrustedCA = s.TrustedCA.Name
	}
	if s.Sources != nil {
		c.Insecure, c.Allowed, c.Blocked = s.Sources.Insecure, s.Sources.Allowed, s.Sources.Blocked
	}
	return c
}
