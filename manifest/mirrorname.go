package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The patterns of openshift/api, config/v1, types_image_digest_mirror_set.go.
const (
	hostPattern   = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
	mirrorPattern = `^(` + hostPattern + `(?:(?:\.` + hostPattern + `)+)?(?::[0-9]+)?)(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?$`
	sourcePattern = `^\*(?:\.` + hostPattern + `)+$|` + mirrorPattern
)

var (
	mirrorName    = regexp.MustCompile(mirrorPattern)
	sourceName    = regexp.MustCompile(sourcePattern)
	hostName      = regexp.MustCompile(`^` + hostPattern + `(?:\.` + hostPattern + `)*$`)
	portNumber    = regexp.MustCompile(`^[0-9]+$`)
	pathComponent = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|[-]*)[a-z0-9]+)*$`)
)

// CheckMirror says why a mirror set cannot name s as a mirror, by the pattern
// that the CRD has for it. What it accepts is a host with or without a port,
// followed by a path or not.
func CheckMirror(s string) error {
	if mirrorName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("mirror %.200q: %w", s, nameFault(s))
}

// CheckSource says why a mirror set cannot name s as a source, by the pattern
// that the CRD has for it: what [CheckMirror] accepts, and "*.host" for all
// hosts below one.
func CheckSource(s string) error {
	if sourceName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("source %.200q: %w", s, sourceFault(s))
}

func sourceFault(s string) error {
	if strings.HasPrefix(s, "*.") {
		return errors.New("after a wildcard stands only a host: no port and no path")
	}
	return nameFault(s)
}

// nameFault finds the words for a name that does not match the pattern.
func nameFault(s string) error {
	host, path, hasPath := strings.Cut(s, "/")
	switch {
	case s == "":
		return errors.New("it is empty")
	case strings.Contains(s, "://"):
		return errors.New("it begins with a scheme; only host, port and path belong there")
	case strings.ContainsAny(s, " \t\r\n"):
		return errors.New("it has a space or a line break")
	case strings.Contains(s, "@"):
		return errors.New("it has a digest; only host, port and path belong there")
	case strings.Contains(s, "*"):
		return errors.New("it has a wildcard; only a source may have one, in front: *.host")
	case strings.HasPrefix(host, "[") || strings.Count(host, ":") > 1:
		return errors.New("its host is an IPv6 address, which mirror sets cannot name; use a host name")
	case strings.HasSuffix(s, "/"):
		return errors.New("it ends in a slash")
	}
	if err := hostFault(host); err != nil {
		return err
	}
	if hasPath {
		return pathFault(path)
	}
	return errors.New("it is not a host with an optional port and path")
}

func hostFault(s string) error {
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case host == "":
		return errors.New("it has no host")
	case strings.Contains(host, "_"):
		return errors.New("its host has an underscore")
	case !hostName.MatchString(host):
		return fmt.Errorf("%.80q is not a host name", host)
	case hasPort && !portNumber.MatchString(port):
		return fmt.Errorf("%.80q is not a port number", port)
	}
	return nil
}

func pathFault(path string) error {
	components := strings.Split(path, "/")
	last := components[len(components)-1]
	switch {
	case strings.Contains(last, ":"):
		return errors.New("it has a tag; only host, port and path belong there")
	case path != strings.ToLower(path):
		return errors.New("its path has upper-case letters")
	}
	for _, component := range components {
		switch {
		case component == "":
			return errors.New("it has two slashes in a row")
		case !pathComponent.MatchString(component):
			return fmt.Errorf("%.80q cannot be part of a path: lower-case letters and digits, with single dots, one or two underscores or dashes between them", component)
		}
	}
	return errors.New("it is not a host with an optional port and path")
}
