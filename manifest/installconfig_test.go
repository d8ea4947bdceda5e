package manifest

import "testing"

func TestInstallConfigFragment(t *testing.T) {
	text, err := InstallConfigFragment(documentsRelease, "Put this into install-config.yaml.")
	wantError(t, err, "")
	golden(t, "install-config.fragment.yaml", text)

	never := []Mirror{{"quay.io/openshift-release-dev/ocp-release", []string{"m.b:5000/b", "m.b:5000/a"}, NeverContactSource}}
	text, err = InstallConfigFragment(never, "")
	wantError(t, err, "")
	golden(t, "install-config-never.fragment.yaml", text)
}

func TestBadInstallConfigFragment(t *testing.T) {
	for source, want := range map[string]string{
		"*.redhat.io": "it has a wildcard, which install-config cannot have",
		"quay.io/A":   "upper-case",
	} {
		text, err := InstallConfigFragment([]Mirror{{Source: source, Mirrors: []string{"m.b"}}}, "")
		wantError(t, err, want)
		if text != nil {
			t.Errorf("wrote %q", text)
		}
	}
}
