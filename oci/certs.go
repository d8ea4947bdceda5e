package oci

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// certsError is what is wrong with the files of a host's directory of
// certificates.
type certsError struct{ error }

func (e *certsError) Unwrap() error { return e.error }

// UsualCertDirs are where podman, skopeo and docker look for the certificates of
// a host, in their order (containers-certs.d(5); containers/image,
// docker/docker_client.go, dockerCertDir).
func UsualCertDirs() []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	config := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); config == "" && err == nil {
		config = filepath.Join(home, ".config")
	}
	if config != "" {
		dirs = append([]string{filepath.Join(config, "containers/certs.d")}, dirs...)
	}
	return dirs
}

// certDirs are directories with a directory for each host that has certificates
// of its own, named HOST[:PORT] as in references. The first that has one for a
// host counts, alone.
type certDirs []string

// OwnCertDir is one directory in place of the usual ones, like them with a
// directory for each host. Where podman and skopeo take a directory, the files
// lie in it for whatever host is asked: here that is an error, since nobody
// would notice that they are not used.
func OwnCertDir(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if hasCertSuffix(f.Name()) && !f.IsDir() {
			return nil, fmt.Errorf("%s is for no host: it belongs into %s", filepath.Join(dir, f.Name()), filepath.Join(dir, "HOST[:PORT]"))
		}
	}
	return []string{dir}, nil
}

func hasCertSuffix(name string) bool {
	switch filepath.Ext(name) {
	case ".crt", ".cert", ".key":
		return true
	}
	return false
}

// dir finds the directory of a URL's host; "" if there is none, or none that
// may be looked at.
func (c certDirs) dir(u *url.URL) string {
	if u.Scheme == "http" {
		return ""
	}
	for _, dir := range c {
		for _, host := range spellings(u) {
			if !hostPattern.MatchString(host) || strings.Trim(host, ".") == "" {
				continue
			}
			if info, err := os.Stat(filepath.Join(dir, host)); err == nil && info.IsDir() {
				return filepath.Join(dir, host)
			}
		}
	}
	return ""
}

// spellings are the names that a URL's host may go by: with the usual port and
// without it.
func spellings(u *url.URL) []string {
	host := strings.ToLower(u.Host)
	if host == name.DefaultRegistry {
		return []string{dockerHub}
	}
	usual := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	short, found := strings.CutSuffix(host, usual)
	switch {
	case found:
		return []string{host, short}
	case u.Port() == "":
		return []string{host, host + usual}
	}
	return []string{host}
}

// hostConfig reads the certificates of a directory: *.crt are authorities that
// are trusted beside the roots, and NAME.cert with NAME.key is who we are
// (containers/image, pkg/tlsclientconfig, SetupCertificates). Unlike there a
// *.crt without a certificate is an error.
func hostConfig(dir string, roots *x509.CertPool) (*tls.Config, error) {
	config := &tls.Config{RootCAs: roots.Clone()}
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return config, nil // as podman has it: it is another user's
	}
	for _, f := range files {
		if err == nil {
			err = addCert(config, filepath.Join(dir, f.Name()))
		}
	}
	if err != nil {
		return nil, &certsError{fmt.Errorf("read certificates: %w", err)}
	}
	return config, nil
}

func addCert(config *tls.Config, file string) error {
	base := strings.TrimSuffix(file, filepath.Ext(file))
	switch filepath.Ext(file) {
	case ".crt":
		return addAuthority(config.RootCAs, file)
	case ".cert":
		if _, err := os.Stat(base + ".key"); err != nil {
			return fmt.Errorf("%s has no %s beside it (an authority's certificate is named *.crt)", file, filepath.Base(base+".key"))
		}
		pair, err := tls.LoadX509KeyPair(file, base+".key")
		if err != nil {
			return fmt.Errorf("%s with its .key: %w", file, err)
		}
		config.Certificates = append(config.Certificates, pair)
	case ".key":
		if _, err := os.Stat(base + ".cert"); err != nil {
			return fmt.Errorf("%s has no %s beside it", file, filepath.Base(base+".cert"))
		}
	}
	return nil
}

// addAuthority trusts the certificates of a file in PEM.
func addAuthority(roots *x509.CertPool, file string) error {
	data, err := os.ReadFile(file)
	if err == nil && !roots.AppendCertsFromPEM(data) {
		err = fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return err
}
