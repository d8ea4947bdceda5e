package bundle

import (
	"fmt"
	"strings"
)

// Folding fits paths into a registry that takes only so many components of one.
// The components of the whole path that are one too many are joined: the first
// N−1 stay, and in the rest every slash becomes two dashes, and every run of two
// dashes or more one dash longer:
//
//	N = 2   team/app          team/app
//	        team/deep/app     team/deep--app
//	        team/deep--app    team/deep---app
//
// No component begins or ends with a dash, so a run of two is a slash, and a
// longer one was a dash shorter: no two paths become one.

// folded is a path below To with at most so many components, those of To
// included, as MaxNestedPaths says.
func (p Placement) folded(path string) string {
	if p.MaxNestedPaths == 0 {
		return path
	}
	keep := p.MaxNestedPaths - 1 - depth(p.To.Path)
	parts := strings.Split(path, "/")
	if len(parts) <= keep {
		return path
	}
	return strings.Join(append(parts[:keep:keep], joinDashed(parts[keep:])), "/")
}

// depth counts the components of a path.
func depth(path string) int {
	if path == "" {
		return 0
	}
	return strings.Count(path, "/") + 1
}

// joinDashed makes one component of several.
func joinDashed(parts []string) string {
	for i, part := range parts {
		parts[i] = lengthenRuns(part)
	}
	return strings.Join(parts, "--")
}

// lengthenRuns makes runs of two dashes or more one dash longer.
func lengthenRuns(s string) string {
	var b strings.Builder
	run := 0
	for i := range len(s) {
		if s[i] != '-' {
			run = 0
		} else if run++; run == 2 {
			b.WriteByte('-')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// CheckNesting is an error unless at least one component of a path can be below To.
func (p Placement) CheckNesting() error {
	if above := depth(p.To.Path); p.MaxNestedPaths < 0 || p.MaxNestedPaths > 0 && p.MaxNestedPaths <= above {
		return fmt.Errorf("%w: at most %d components of a path: %s has %d already, and a repository at least one more", ErrUsage, p.MaxNestedPaths, p.To, above)
	}
	return nil
}

// tooDeep is an error for a path below To that folding would change: whoever looks
// there does not fold.
func (p Placement) tooDeep(path string) error {
	if n := depth(join(p.To.Path, path)); p.MaxNestedPaths > 0 && n > p.MaxNestedPaths {
		return fmt.Errorf("%s has %d components, and no more than %d are wanted", join(p.To.Path, path), n, p.MaxNestedPaths)
	}
	return nil
}
