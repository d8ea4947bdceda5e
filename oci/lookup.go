package oci

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Lookup says with which credentials something was asked, or where none were
// found. It holds no secret.
type Lookup struct {
	Name  string   // HOST/PATH that they were looked up for
	Entry string   // the name that they were found under; "" if there are none
	File  string   // where that stands; "" if a program keeps it
	Files []string // where it was looked, in order
}

// withLookup says of a refusal with whose credentials it came. Only the registry
// and the token service that it names have been told any.
func (c *Client) withLookup(e *StatusError, r Reference) *StatusError {
	asked := endpoint(r, "").Host
	if e.Status/100 == 4 && IsDenied(e) && (e.aside || e.Host == asked) {
		e.Lookup = c.lookup(r)
	}
	return e
}

func (c *Client) lookup(r Reference) *Lookup {
	l := &Lookup{Name: c.known(r), Files: c.authfiles()}
	if a, err := c.account(r); err != nil || a == (account{}) {
		return l
	}
	l.Entry = r.Registry
	for _, file := range l.Files {
		if entry := entryOf(file, l.Name); entry != "" {
			l.Entry, l.File = entry, file
			break
		}
	}
	return l
}

// authfiles are the files that credentials are looked for in, as podman does:
// containers-auth.json(5).
func (c *Client) authfiles() []string {
	if c.context.AuthFilePath != "" {
		return []string{c.context.AuthFilePath}
	}
	home, _ := os.UserHomeDir()
	from := func(variable, otherwise, file string) string {
		return filepath.Join(cmp.Or(os.Getenv(variable), otherwise), file)
	}
	run := from("XDG_RUNTIME_DIR", "", "containers/auth.json")
	if os.Getenv("XDG_RUNTIME_DIR") == "" {
		run = fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())
	}
	return []string{
		run,
		from("XDG_CONFIG_HOME", filepath.Join(home, ".config"), "containers/auth.json"),
		from("DOCKER_CONFIG", filepath.Join(home, ".docker"), "config.json"),
		filepath.Join(home, ".dockercfg"),
	}
}

// entryOf finds the entry of a file that is for a name: the longest that it is
// under; "" if there is none.
func entryOf(file, of string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var contents struct {
		Auths       map[string]json.RawMessage `json:"auths"`
		CredHelpers map[string]string          `json:"credHelpers"`
	}
	if json.Unmarshal(data, &contents) != nil {
		return ""
	}
	host, _, _ := strings.Cut(of, "/")
	if _, kept := contents.CredHelpers[host]; kept {
		return host
	}
	for at := of; at != ""; at = at[:max(strings.LastIndex(at, "/"), 0)] {
		if _, found := contents.Auths[at]; found {
			return at
		}
	}
	for _, key := range slices.Sorted(maps.Keys(contents.Auths)) {
		bare := strings.TrimPrefix(strings.TrimPrefix(key, "http://"), "https://")
		if own, _, _ := strings.Cut(bare, "/"); bare != key && sameHub(own) == sameHub(host) || sameHub(key) == sameHub(host) {
			return key
		}
	}
	return ""
}

// sameHub is a host by one name, though it be Docker Hub.
func sameHub(host string) string {
	if host == dockerHub || host == "registry-1.docker.io" {
		return name.DefaultRegistry
	}
	return host
}
