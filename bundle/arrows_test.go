package bundle_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "airlift"

// allowed are all arrows between the packages of the module. A package that is
// not listed here may not exist.
var allowed = map[string][]string{
	"cmd/airlift": {"bundle", "oci", "manifest", "verify"},
	"cmd/bench":   {testWorld},
	"cmd/demo":    {"bundle", "oci", "manifest", "verify", testWorld},
	"bundle":      {"oci", "manifest", "verify"},
	"oci":         {},
	"manifest":    {},
	"verify":      {},
	testWorld:     {"oci"},
}

// testWorld may be imported by every test.
const testWorld = "oci/ocitest"

// outside are the modules that a leaf may use beside the standard library;
// packages that are not listed may use what go.mod has.
var outside = map[string][]string{
	"verify":   {},
	"manifest": {"sigs.k8s.io/yaml", "go.yaml.in/yaml/v2"}, // the latter is the former's own
}

// screen are modules that draw and read words for people: cmd's alone.
var screen = []string{"github.com/urfave/cli", "github.com/schollz/progressbar"}

// arrow is one import statement.
type arrow struct {
	from string // the package's directory in the module
	to   string // the import path
	test bool   // in a _test.go file
}

// fault says why an arrow may not be; it is empty if it may.
func (a arrow) fault() string {
	inside, listed := allowed[a.from]
	if !listed {
		return "a package that the list of arrows does not name"
	}
	if to, own := strings.CutPrefix(a.to, module+"/"); own {
		if slices.Contains(inside, to) || a.test && (to == testWorld || to == a.from) {
			return ""
		}
		return "may not import " + to
	}
	if !strings.Contains(strings.Split(a.to, "/")[0], ".") || a.test {
		return "" // the standard library, or a test's own affair
	}
	if only, limited := outside[a.from]; limited && !within(a.to, only) {
		return "may not import " + a.to
	}
	if within(a.to, screen) && !strings.HasPrefix(a.from, "cmd/") {
		return "may not import " + a.to + ": only cmd speaks to people"
	}
	return ""
}

func within(importPath string, modules []string) bool {
	return slices.ContainsFunc(modules, func(m string) bool {
		return importPath == m || strings.HasPrefix(importPath, m+"/")
	})
}

// TestArrows reads the import statements of all files, whatever system they are
// built for.
func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name != ".." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case filepath.Ext(name) != ".go":
			return nil
		}
		arrows, err := arrowsOf(name)
		for _, a := range arrows {
			seen[a.from] = true
			if fault := a.fault(); fault != "" {
				t.Errorf("%s: package %s: %s", filepath.ToSlash(name[len("../"):]), a.from, fault)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"cmd/airlift", "bundle", "oci", "manifest", "verify"} {
		if !seen[p] {
			t.Errorf("no imports of package %s were read", p)
		}
	}
}

func arrowsOf(name string) ([]arrow, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("read imports: %w", err)
	}
	from := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), "../")
	var arrows []arrow
	for _, spec := range file.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		arrows = append(arrows, arrow{from, to, strings.HasSuffix(name, "_test.go")})
	}
	return arrows, nil
}

// TestArrowsBite tries arrows that the list must refuse.
func TestArrowsBite(t *testing.T) {
	for _, a := range []arrow{
		{"oci", "airlift/bundle", false},
		{"oci", "airlift/manifest", false},
		{"oci", "airlift/bundle", true},
		{"manifest", "airlift/oci", false},
		{"manifest", "github.com/opencontainers/go-digest", false},
		{"manifest", "sigs.k8s.io/yamlish", false},
		{"verify", "airlift/oci", true},
		{"verify", "golang.org/x/crypto/ssh", false},
		{"bundle", "airlift/cmd/airlift", false},
		{"bundle", "airlift/oci/ocitest", false},
		{"bundle", "github.com/urfave/cli/v2", false},
		{"cmd/airlift", "airlift/oci/ocitest", false},
		{"helpers", "fmt", false},
	} {
		if a.fault() == "" {
			t.Errorf("%+v was let through", a)
		}
	}
}
