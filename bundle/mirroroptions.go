package bundle

import (
	"cmp"
	"fmt"
	"slices"

	"airlift/manifest"
)

// MirrorOptions are the choices that mirror sets depend on, for sources of earlier
// imports too: what nobody says stays as it was said before.
type MirrorOptions struct {
	Policy string `json:"mirrorSourcePolicy,omitempty"` // "" = the field is absent, if nothing else was said before
	Scope  string `json:"scope,omitempty"`              // of the sources; likewise, manifest.RepositoryScope
	ICSP   string `json:"icsp,omitempty"`               // ICSPOnly, ICSPAlso or, likewise, ICSPNo
}

// Ways to write an ImageContentSourcePolicy, for clusters before 4.13.
const (
	ICSPOnly = "only" // instead of the other mirror sets, which those do not know
	ICSPAlso = "also" // beside them
	ICSPNo   = "no"
)

// over are the choices, and those of before that they leave open.
func (o MirrorOptions) over(before MirrorOptions) MirrorOptions {
	return MirrorOptions{cmp.Or(o.Policy, before.Policy), cmp.Or(o.Scope, before.Scope), cmp.Or(o.ICSP, before.ICSP)}
}

// lacks are those of before that the choices leave open.
func (o MirrorOptions) lacks(before MirrorOptions) MirrorOptions {
	if o.Policy != "" {
		before.Policy = ""
	}
	if o.Scope != "" {
		before.Scope = ""
	}
	if o.ICSP != "" {
		before.ICSP = ""
	}
	return before
}

// check finds values that no import records.
func (o MirrorOptions) check() error {
	for _, f := range []struct {
		name, value string
		known       []string
	}{
		{"mirrorSourcePolicy", o.Policy, []string{manifest.NeverContactSource, manifest.AllowContactingSource}},
		{"scope", o.Scope, []string{manifest.RepositoryScope, manifest.NamespaceScope, manifest.RegistryScope}},
		{"icsp", o.ICSP, []string{ICSPOnly, ICSPAlso, ICSPNo}},
	} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			return fmt.Errorf("%s is %.60q, which is none of %q", f.name, f.value, f.known)
		}
	}
	return nil
}

// writes says whether the objects have a mirror set of a kind.
func (o MirrorOptions) writes(kind string) bool {
	if kind == manifest.ContentSourcePolicy {
		return o.ICSP == ICSPOnly || o.ICSP == ICSPAlso
	}
	return o.ICSP != ICSPOnly
}

// isWide says whether sources are to be wider than repositories.
func (o MirrorOptions) isWide() bool { return o.Scope != "" && o.Scope != manifest.RepositoryScope }
