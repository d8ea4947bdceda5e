package manifest

import "testing"

// The patterns as the CRDs of openshift/api spell them out.
const (
	crdMirror = `^((?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+)?(?::[0-9]+)?)(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?$`
	crdSource = `^\*(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+$|` + crdMirror
)

func TestPatterns(t *testing.T) {
	if mirrorPattern != crdMirror {
		t.Errorf("mirror pattern is\n%s\nwant\n%s", mirrorPattern, crdMirror)
	}
	if sourcePattern != crdSource {
		t.Errorf("source pattern is\n%s\nwant\n%s", sourcePattern, crdSource)
	}
}

func TestNames(t *testing.T) {
	const ok = ""
	for _, test := range []struct{ name, mirror, source string }{
		{"registry.example", ok, ok},
		{"localhost:5000", ok, ok},
		{"10.0.0.1:5000/a", ok, ok},
		{"Registry.Example:5000/ocp/release", ok, ok},
		{"quay.io/openshift-release-dev/ocp-v4.0-art-dev", ok, ok},
		{"a.example/b__c/d--e/f.g/h_i", ok, ok},
		{"a/b", ok, ok},
		{"*.redhat.io", "only a source may have one", ok},
		{"*.registry.redhat.io", "only a source may have one", ok},
		{"*.redhat.io:5000", "only a source may have one", "no port and no path"},
		{"*.redhat.io/ubi9", "only a source may have one", "no port and no path"},
		{"*", "has a wildcard", "has a wildcard"},
		{"*redhat.io", "has a wildcard", "has a wildcard"},
		{"quay.io/*", "has a wildcard", "has a wildcard"},
		{"", "it is empty", "it is empty"},
		{"[fd00::1]:5000/ocp", "IPv6 address", "IPv6 address"},
		{"[fd00::1]", "IPv6 address", "IPv6 address"},
		{"fd00::1/ocp", "IPv6 address", "IPv6 address"},
		{"my_registry.example/ocp", "its host has an underscore", "its host has an underscore"},
		{"registry.example/OCP/release", "its path has upper-case letters", "its path has upper-case letters"},
		{"registry.example/a___b", `"a___b" cannot be part of a path`, `"a___b" cannot be part of a path`},
		{"registry.example/a..b", `"a..b" cannot be part of a path`, `"a..b" cannot be part of a path`},
		{"registry.example/../b", `".." cannot be part of a path`, `".." cannot be part of a path`},
		{"registry.example/-a", `"-a" cannot be part of a path`, `"-a" cannot be part of a path`},
		{"registry.example/a-", `"a-" cannot be part of a path`, `"a-" cannot be part of a path`},
		{"registry.example//b", "two slashes in a row", "two slashes in a row"},
		{"registry.example/a:latest", "it has a tag", "it has a tag"},
		{"registry.example/a@sha256:" + hex64, "it has a digest", "it has a digest"},
		{"https://registry.example/a", "it begins with a scheme", "it begins with a scheme"},
		{"docker://registry.example/a", "it begins with a scheme", "it begins with a scheme"},
		{"registry.example/a/", "it ends in a slash", "it ends in a slash"},
		{"registry.example/", "it ends in a slash", "it ends in a slash"},
		{"/a", "it has no host", "it has no host"},
		{":5000/a", "it has no host", "it has no host"},
		{"registry.example:/a", `"" is not a port number`, `"" is not a port number`},
		{"registry.example:https/a", `"https" is not a port number`, `"https" is not a port number`},
		{"-a.example/b", `"-a.example" is not a host name`, `"-a.example" is not a host name`},
		{"a..example/b", "is not a host name", "is not a host name"},
		{"a.example./b", "is not a host name", "is not a host name"},
		{"a.example/b c", "a space or a line break", "a space or a line break"},
		{"a.example/b\n", "a space or a line break", "a space or a line break"},
		{"a.example/b\x00", "cannot be part of a path", "cannot be part of a path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, CheckMirror(test.name), test.mirror)
			wantError(t, CheckSource(test.name), test.source)
		})
	}
}
