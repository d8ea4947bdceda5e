package manifest

import "strings"

// ImportSources lists where the importer of imagestreams looks for an image, in
// order: since 4.14 it reads the same mirror sets as nodes, but not in the same
// way (openshift-apiserver, importer.go, findRegistryConfiguration):
//
//   - A wildcard is the scope of nothing.
//   - A host without a port is not the scope of its ports.
//   - What is blocked is asked all the same.
//   - Where a mirror gives no valid name, only the image's own repository counts.
//
// Whether it speaks plain HTTP is a matter of the stream's tag, not of the
// cluster's lists, so that Insecure is never set. The arguments are those of
// [RegistriesConf.Sources].
func (c RegistriesConf) ImportSources(name string, byDigest bool) []PullSource {
	itself := PullSource{Name: name}
	longest := Registry{}
	for _, r := range c.Registries {
		if len(r.Scope) > len(longest.Scope) && !strings.HasPrefix(r.Scope, "*.") && Covers(r.Scope, name) {
			longest = r
		}
	}
	var sources []PullSource
	for _, m := range longest.Mirrors {
		if (m.Pull == DigestOnly) != byDigest {
			continue
		}
		place := m.Location + name[len(longest.Scope):]
		if !isRepository(place) {
			return []PullSource{itself}
		}
		sources = append(sources, PullSource{Name: place})
	}
	return append(sources, itself)
}
