package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

// Where the objects lie under their directory. apply holds only complete
// objects, so that `oc apply -f apply/` succeeds.
const (
	IDMSFile       = "apply/idms.yaml"
	ITMSFile       = "apply/itms.yaml"
	ICSPFile       = "apply/icsp.yaml"
	SamplesFile    = "patches/samples-operator.yaml"
	InstallFile    = "install/install-config.fragment.yaml"
	RegistriesFile = "nodes/registries.conf"
)

// Printed stands for a directory where objects are printed and not written:
// nothing lies there, and nothing is written.
const Printed = "-"

const assumedComment = "What a complete import would give: no registry was asked."

// Objects are the files that make a cluster use the registry, and what they do
// to it. Nothing is written yet.
type Objects struct {
	MirrorChanges
	// Chosen are the choices that stay as an earlier import made them.
	Chosen MirrorOptions
	// ConfigDrains are the reasons why the patch of the image configuration drains
	// the nodes.
	ConfigDrains []string
	// Options are those of the report, and of earlier ones.
	Options ObjectOptions
	// Unpruned: another run wrote its report after Prune had asked the registry, so
	// nothing was taken out.
	Unpruned bool

	dir   string
	files map[string][]byte // by their names under dir
}

// Objects renders what a cluster needs to use the registry: mirror sets, samples
// patch, install-config fragment, registries.conf and the report itself. What lies
// under dir already is kept: earlier imports' images through their report, sources
// of mirror sets even without one.
func (r *Report) Objects(dir string) (*Objects, error) {
	if err := r.Join(dir); err != nil {
		return nil, err
	}
	return r.objects(dir)
}

// Files are the names under the directory, sorted.
func (o *Objects) Files() []string { return slices.Sorted(maps.Keys(o.files)) }

// Write writes the files. Each appears whole or not at all; no other file is
// touched.
func (o *Objects) Write() error { return writeFiles(o.dir, o.files) }

// Stream is what `oc apply -f -` takes: the files under apply/.
func (o *Objects) Stream() []byte {
	var documents [][]byte
	for _, name := range o.Files() {
		if strings.HasPrefix(name, "apply/") {
			documents = append(documents, o.files[name])
		}
	}
	return bytes.Join(documents, []byte("---\n"))
}

// Patch is one of the files with a patch as JSON on one line, for a command line.
func (o *Objects) Patch(file string) (string, error) {
	data, err := yaml.YAMLToJSON(o.files[file])
	return string(data), err
}

// WriteObjects renders the objects and writes them. Whoever is not alone there calls it
// within Alone.
func (r *Report) WriteObjects(dir string) (*Objects, error) {
	o, err := r.Objects(dir)
	if err != nil {
		return nil, err
	}
	return o, o.Write()
}

// Write writes the report alone, after an import whose result a cluster should
// not be told of yet. Whoever is not alone there calls it within Alone.
func (r *Report) Write(dir string) error {
	o, err := r.Objects(dir)
	if err != nil {
		return err
	}
	return writeFiles(dir, map[string][]byte{ReportFile: o.files[ReportFile]})
}

// Writable says whether a directory could be written to, or made. It tries nothing.
func Writable(dir string) error {
	if dir == Printed {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return Writable(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: %s is no directory", ErrUsage, dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write into %s: %w", dir, err)
	}
	return nil
}

// Check says whether WriteObjects would fail, but for a disk that is full. It tries
// nothing.
func (r *Report) Check(dir string) error {
	_, err := r.Objects(dir)
	return errors.Join(err, Writable(dir))
}

// Join adds what the report that lies under a directory holds, once, and takes out what
// Prune found to be gone, if that report is still the one that it asked about.
func (r *Report) Join(dir string) error {
	if r.joined == dir {
		return nil
	}
	earlier, err := readEarlier(dir)
	if err != nil {
		return err
	}
	var sum digest.Digest
	if earlier != nil {
		sum = earlier.sum
	}
	if p := r.pruned; p != nil && p.joined == dir && p.sum == sum {
		*r = *p
		return nil
	}
	if earlier != nil {
		if err := r.Extend(earlier); err != nil {
			return err
		}
	}
	r.joined, r.sum = dir, sum
	return nil
}

// objects renders all files.
func (r *Report) objects(dir string) (*Objects, error) {
	if err := r.collisions(); err != nil {
		return nil, err
	}
	o := &Objects{dir: dir, files: map[string][]byte{}, Chosen: r.chosen, Unpruned: r.pruned != nil}
	mirrors, err := r.mirrorSets(dir)
	if err != nil {
		return nil, err
	}
	o.MirrorChanges = mirrors.changes
	if err := errors.Join(mirrors.render(o.files), r.samplesPatch(dir, o.files)); err != nil {
		return nil, err
	}
	if err := errors.Join(r.clusterConfig(o.files), r.trustBundle(o.files)); err != nil {
		return nil, err
	}
	o.ConfigDrains, o.Options = r.Options.configDrains(), r.Options
	o.files[ReportFile], err = r.bytes()
	return o, err
}

func (r *Report) comment() string {
	if r.Assumed {
		return assumedComment
	}
	return ""
}

// readUnder reads a file of a directory of objects; fs.ErrNotExist if it is not there.
func readUnder(dir, name string, limit int64) ([]byte, error) {
	if dir == Printed {
		return nil, fs.ErrNotExist
	}
	return readSmall(filepath.Join(dir, name), limit)
}

// writeFiles writes files under a directory, each by a temporary one and a rename.
func writeFiles(dir string, files map[string][]byte) error {
	if dir == Printed {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := replaceFile(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(path string, contents []byte) error { return replaceFileMode(path, contents, 0o644) }

// replaceFileMode never makes the contents readable to more than mode says.
func replaceFileMode(path string, contents []byte, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(contents)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return storageError(err)
	}
	return os.Rename(f.Name(), path)
}
