package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Inventory is bundle.json: what the bundle holds and how its archive is cut.
// Everything else on the medium follows from it.
type Inventory struct {
	Format   string   `json:"format"`
	Requires []string `json:"requires"` // features that a reader must know
	Layout   string   `json:"layout"`
	Content  Content  `json:"content"`
	Storage  Storage  `json:"storage"`
	About    About    `json:"about"`

	// content as it stood in the file that was parsed, compacted: its unknown
	// fields are kept when the same content is written again. nil for an inventory
	// that was made here.
	rawContent json.RawMessage
	file       []byte // that was parsed; nil for an inventory that was made here
}

// Content says what is carried. It depends on nothing but what was asked for
// and what the sources hold: not on time, host, mirror, key or cut.
type Content struct {
	Releases []Release     `json:"releases,omitempty"`
	Streams  []ImageStream `json:"imagestreams,omitempty"`
	// SamplesComplete: imagestreams lists every stream that the samples operator of
	// some cluster owns.
	SamplesComplete bool      `json:"samplesComplete,omitempty"`
	Samples         []Samples `json:"samples,omitempty"`   // sorted by release and architecture
	Platforms       []string  `json:"platforms,omitempty"` // sorted: of lists that could be narrowed, the images of these are carried; none = all
	Images          []Image   `json:"images"`              // sorted by reference
	Nodes           []Node    `json:"nodes"`               // children before their parents
	Blobs           []Blob    `json:"blobs"`               // configs, then layers, in order of first use
	Missing         []Missing `json:"missing,omitempty"`   // what the sources did not have

	// read holds the nodes that planning read, so that they are fetched once.
	read map[digest.Digest][]byte
}

// Release is an OpenShift release: its payload image and all components.
type Release struct {
	Version      string      `json:"version"`
	Architecture string      `json:"architecture"` // x86_64, aarch64, ppc64le, s390x or multi
	Image        string      `json:"image"`        // reference, by digest
	Components   []Component `json:"components"`   // sorted by name
}

// Component is one image of a release under its name there.
type Component struct {
	Name  string `json:"name"`
	Image string `json:"image"` // reference, by digest
}

// Samples is what the samples operator of a release creates on the clusters of
// one architecture: all of it, carried or not.
type Samples struct {
	Release      string        `json:"release"`             // its image
	Architecture string        `json:"architecture"`        // x86_64, aarch64, ppc64le or s390x
	Streams      []ImageStream `json:"imagestreams"`        // sorted by name
	Templates    []Template    `json:"templates,omitempty"` // sorted by name
}

// ImageStream is a stream with the tags that name images.
type ImageStream struct {
	Name    string `json:"name"`
	Samples bool   `json:"samples,omitempty"` // in Content.Streams: the samples operator owns it
	// LeftOut, in Samples: by choice, its images were not asked for.
	LeftOut    bool        `json:"leftOut,omitempty"`
	Tags       []StreamTag `json:"tags,omitempty"`
	Aliases    []Alias     `json:"aliases,omitempty"`               // sorted by name
	Repository string      `json:"dockerImageRepository,omitempty"` // a cluster imports whatever it has; not carried
}

// Alias is a tag that follows another one of its stream.
type Alias struct {
	Name string `json:"name"`
	Tag  string `json:"tag"`
}

// Template is a template with what it needs to be of use.
type Template struct {
	Name    string   `json:"name"`
	LeftOut bool     `json:"leftOut,omitempty"` // by choice, its images were not asked for
	Images  []string `json:"images,omitempty"`  // references, sorted: nodes pull them as they are
	Streams []string `json:"imagestreamtags,omitempty"`
}

// StreamTag is one tag of an image stream.
type StreamTag struct {
	Name  string `json:"name"`
	From  string `json:"from"`  // the reference exactly as the stream has it
	Image string `json:"image"` // the same, normalised: as in Image or Missing
}

// Image is one reference and the node that it names.
type Image struct {
	Reference string        `json:"reference"` // normalised, with the original host
	Digest    digest.Digest `json:"digest"`
	// Index is what the source has under the reference, where that is a list and
	// Digest its one image that was wanted. "" where the two are the same.
	Index digest.Digest `json:"index,omitempty"`
}

// Node is a manifest or index, carried byte for byte.
type Node struct {
	Digest    digest.Digest   `json:"digest"`
	Size      int64           `json:"size"`
	MediaType string          `json:"mediaType"`
	Config    digest.Digest   `json:"config,omitempty"`
	Layers    []digest.Digest `json:"layers,omitempty"` // in order, repeats kept
	Children  []digest.Digest `json:"children,omitempty"`
	// Absent are the children that are not carried, each once: those of Missing, and
	// those that were left out for their platform. An index with any is sparse.
	Absent []digest.Digest `json:"absent,omitempty"`
}

// Roles of a blob: the first one it was seen in.
const (
	RoleConfig = "config"
	RoleLayer  = "layer"
)

// Blob is a config or a layer.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Role   string        `json:"role"`
}

// Missing is something that was asked for, or that an image needs, and that
// its registry answered not to have; or an image that is not carried for what it
// lacks.
type Missing struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest,omitempty"` // that a reference without one led to
	Parent    digest.Digest `json:"parent,omitempty"` // the index that lists it, or the image that needs it
	Role      string        `json:"role,omitempty"`   // of a blob; "" = a manifest or index
	Reason    string        `json:"reason"`
}

// Storage says what of the content the archive has, and how it is cut. Volumes
// follow from the content, LeftOut and VolumeSize; they are listed for people, and
// checked.
type Storage struct {
	VolumeSize int64    `json:"volumeSize,omitempty"` // bytes at most; 0 = one volume
	Size       int64    `json:"size"`                 // bytes of the whole archive
	Volumes    []Volume `json:"volumes"`
	// LeftOut are the blobs of the content that the archive does not have, in the
	// order of the content: About.Base brought them.
	LeftOut []digest.Digest `json:"leftOut,omitempty"`
}

// Volume is one file of the archive.
type Volume struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// About says where this bundle came from. Nothing is derived from it.
type About struct {
	Series   string `json:"series,omitempty"`
	Sequence int64  `json:"sequence"`       // UTC seconds: later bundles of a series have greater ones
	Base     []Base `json:"base,omitempty"` // what brought the blobs that are left out, sorted
	Tool     string `json:"tool"`
	// Request is a digest of what was asked for (Request.Digest): the same request
	// goes on with an export that was interrupted. "" if none does.
	Request digest.Digest `json:"request,omitempty"`
}

// NewInventory makes the inventory of a content and computes its storage.
// tool names the program that writes it; sequence is in UTC seconds.
func NewInventory(c Content, volumeSize int64, tool string, sequence int64) (*Inventory, error) {
	inv := &Inventory{
		Format: Format, Requires: []string{}, Layout: LayoutName, Content: c,
		Storage: Storage{VolumeSize: volumeSize}, About: About{Sequence: sequence, Tool: tool},
	}
	return inv, inv.computeStorage()
}

func (inv *Inventory) computeStorage() error {
	if err := inv.Content.validate(); err != nil {
		return err
	}
	if err := cmp.Or(inv.checkAbout(), inv.checkLeftOut()); err != nil {
		return err
	}
	layout, err := inv.layout()
	if err != nil {
		return err
	}
	inv.Storage.Size = layout.Size
	inv.Storage.Volumes = layout.describe()
	return nil
}

func (inv *Inventory) layout() (*Layout, error) { return newLayout(&inv.Content, inv.Storage) }

// Again is an inventory of exactly the same content, with the same blobs left out, cut into volumes of
// volumeSize (0 = as before), with an about of its own.
func (inv *Inventory) Again(volumeSize int64, tool string, sequence int64) (*Inventory, error) {
	again := *inv
	again.file = nil
	again.About = About{Series: inv.About.Series, Sequence: sequence, Base: inv.About.Base, Tool: tool}
	if volumeSize != 0 {
		again.Storage.VolumeSize = volumeSize
	}
	return &again, again.computeStorage()
}

// ContentID is the digest of the content: of the JSON value in bundle.json with
// insignificant white space removed (as `jq -cj .content` prints it).
func (inv *Inventory) ContentID() digest.Digest {
	hash := digest.SHA256.Digester()
	if err := inv.writeContent(hash.Hash()); err != nil { // only for what JSON cannot say
		panic(err)
	}
	return hash.Digest()
}

// writeContent writes the content without white space.
func (inv *Inventory) writeContent(w io.Writer) error {
	if inv.rawContent == nil {
		return inv.Content.write(w)
	}
	_, err := w.Write(inv.rawContent)
	return err
}

// Bytes is the file bundle.json: the one that was parsed, else indented JSON,
// ended by a newline.
func (inv *Inventory) Bytes() ([]byte, error) {
	if inv.file != nil {
		return inv.file, nil
	}
	size, err := inv.size()
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	if err := inv.write(b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// size is how many bytes the file has.
func (inv *Inventory) size() (int64, error) {
	if inv.file != nil {
		return int64(len(inv.file)), nil
	}
	var n counter
	if err := inv.write(&n); err != nil {
		return 0, err
	}
	if n > MaxInventorySize {
		return 0, fmt.Errorf("%s would have %d bytes, the limit is %d", InventoryFile, n, MaxInventorySize)
	}
	return int64(n), nil
}

// write writes the file of an inventory that was made here.
func (inv *Inventory) write(w io.Writer) error {
	type plain Inventory
	head, err := marshal(struct {
		plain
		Content *struct{} `json:"content,omitempty"` // which comes last
	}{plain: plain(*inv)})
	if err != nil {
		return err
	}
	to := &indenter{to: bufio.NewWriter(w)}
	to.text(string(head[:len(head)-1]) + `,"content":`)
	if err := inv.writeContent(to); err != nil {
		return err
	}
	to.text("}")
	return to.end()
}

// ParseInventory reads bundle.json and checks it as a whole. It says nothing
// about who wrote it: Open does.
func ParseInventory(data []byte) (*Inventory, error) {
	if len(data) > MaxInventorySize {
		return nil, fmt.Errorf("parse %s: more than %d bytes", InventoryFile, MaxInventorySize)
	}
	if err := checkKeys(data, Inventory{}); err != nil {
		return nil, fmt.Errorf("parse %s: %w", InventoryFile, err)
	}
	if err := checkFormat(data); err != nil {
		return nil, err
	}
	inv, err := decodeInventory(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", InventoryFile, err)
	}
	inv.file = bytes.Clone(data)
	return inv, nil
}

// Same says whether two inventories are the same file, byte for byte.
func (inv *Inventory) Same(other *Inventory) bool {
	data, err := other.Bytes()
	return err == nil && inv.is(data)
}

// is says whether an inventory is that of a file bundle.json.
func (inv *Inventory) is(file []byte) bool {
	data, err := inv.Bytes()
	return err == nil && bytes.Equal(data, file)
}

func decodeInventory(data []byte) (*Inventory, error) {
	var inv Inventory
	if err := json.Unmarshal(data, &inv); err != nil {
		return nil, err
	}
	var raw struct {
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw.Content); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	inv.rawContent = compact.Bytes()
	said := inv.Storage
	if err := inv.computeStorage(); err != nil {
		return nil, fmt.Errorf("%v", err) // of no class: nobody here chose the size of volumes
	}
	if !equalStorage(said, inv.Storage) {
		return nil, fmt.Errorf("storage does not follow from content")
	}
	return &inv, nil
}

// checkFormat refuses what this version cannot read before anything else of
// the file is looked at.
func checkFormat(data []byte) error {
	var head struct {
		Format   string   `json:"format"`
		Requires []string `json:"requires"`
		Layout   string   `json:"layout"`
		About    struct {
			Tool string `json:"tool"`
		} `json:"about"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("parse %s: %w", InventoryFile, err)
	}
	switch {
	case head.Format == "":
		return errors.New("it has no format: it is not a bundle's inventory")
	case head.Format == ReceiptFormat:
		return fmt.Errorf("it is the receipt of an import, and not a bundle's %s", InventoryFile)
	case head.Format != Format:
		return fmt.Errorf("format %.60q is not known to this version, which reads %s; it was written by %.60q", head.Format, Format, head.About.Tool)
	case head.Layout != LayoutName:
		return fmt.Errorf("layout %.60q is not known to this version, which reads %s; it was written by %.60q", head.Layout, LayoutName, head.About.Tool)
	}
	for _, feature := range head.Requires {
		if feature != FeatureIncrement {
			return fmt.Errorf("requires %.60q, which this version does not have; %.60q wrote it and reads it", feature, head.About.Tool)
		}
	}
	return nil
}

func equalStorage(a, b Storage) bool {
	return a.VolumeSize == b.VolumeSize && a.Size == b.Size && slices.Equal(a.Volumes, b.Volumes)
}

// marshal writes JSON without escaping <, > and &, so that other tools that
// print the same value print the same bytes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
