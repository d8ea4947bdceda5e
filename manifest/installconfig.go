package manifest

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// installSource is an entry of install-config's imageDigestSources, which calls
// the policy by another name than mirror sets do (installer, pkg/types,
// ImageDigestSource).
type installSource struct {
	Mirrors []string `json:"mirrors"`
	Source  string   `json:"source"`
	Policy  string   `json:"sourcePolicy,omitempty"`
}

// InstallConfigFragment returns the imageDigestSources of an install-config, its
// entries sorted by source, to be pasted into one: it is no install-config by
// itself. An entry without policy has no sourcePolicy; installers that do not
// know that field yet refuse it. A wildcard source is an error, because
// installers accept none.
func InstallConfigFragment(mirrors []Mirror, comment string) ([]byte, error) {
	return installFragment("imageDigestSources", mirrors, comment)
}

// OldInstallConfigFragment is [InstallConfigFragment] for installers before 4.13,
// which call the field imageContentSources and know no policy; later ones take it
// too. An entry with NeverContactSource is an error.
func OldInstallConfigFragment(mirrors []Mirror, comment string) ([]byte, error) {
	for _, m := range mirrors {
		if m.Policy == NeverContactSource {
			return nil, fmt.Errorf("source %.200q: %s cannot be said in imageContentSources", m.Source, m.Policy)
		}
	}
	mirrors = slices.Clone(mirrors)
	for i := range mirrors {
		mirrors[i].Policy = ""
	}
	return installFragment("imageContentSources", mirrors, comment)
}

func installFragment(field string, mirrors []Mirror, comment string) ([]byte, error) {
	if err := CheckMirrors(mirrors); err != nil {
		return nil, err
	}
	sources := []installSource{}
	for _, m := range sorted(mirrors) {
		if strings.HasPrefix(m.Source, "*") {
			return nil, fmt.Errorf("source %.200q: it has a wildcard, which install-config cannot have", m.Source)
		}
		sources = append(sources, installSource{Mirrors: m.Mirrors, Source: m.Source, Policy: m.Policy})
	}
	text, err := yaml.Marshal(map[string][]installSource{field: sources})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(comment, text), nil
}
