package bundle

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// sparseError: a registry refuses an index that lacks children. How it words that
// differs (MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID, MANIFEST_UNKNOWN, all 4xx); but the
// children that the index has went into the same repository just before.
type sparseError struct {
	index digest.Digest
	err   error
}

func (e *sparseError) Error() string { return fmt.Sprintf("push index %s: %v", e.index, e.err) }
func (e *sparseError) Unwrap() error { return e.err }

// answer is what the registry said, without where.
func (e *sparseError) answer() string {
	var status *oci.StatusError
	if !errors.As(e.err, &status) {
		return e.err.Error()
	}
	return fmt.Sprintf("%d %s", status.Status, status.Code)
}

// SparseError: images were skipped because the registry takes no sparse lists. It is of
// the class ErrSparse.
type SparseError struct {
	Images  int
	LeftOut bool // of what they lack, some was left out on purpose
}

func (e *SparseError) Error() string {
	return fmt.Sprintf("%v: %s skipped for that", ErrSparse, images(e.Images))
}
func (e *SparseError) Unwrap() error { return ErrSparse }

// sparseSkipped is the error of the images that were skipped so; nil if none was.
func (im *Importer) sparseSkipped() error {
	e := &SparseError{}
	for _, image := range im.images {
		if im.refused[image.Reference] {
			e.Images++
			im.nodes.walk(image.Digest, func(n Node) { e.LeftOut = e.LeftOut || len(im.sparse[n.Digest].LeftOut) > 0 })
		}
	}
	if e.Images == 0 {
		return nil
	}
	return e
}

// instead gives the names of an image that the registry refused for what it lacks
// to its child of the wanted platform. Who knows an image by its digest is not
// served by another, and a release is known by nothing else.
func (im *Importer) instead(ctx context.Context, image placed, refused *sparseError) (ImageResult, error) {
	what := fmt.Sprintf("(%s): %s", refused.answer(), im.sparse[refused.index])
	if im.released[image.Reference] {
		return ImageResult{}, fmt.Errorf("%w %s", ErrSparseRelease, what)
	}
	why := fmt.Errorf("%w %s", ErrSparse, what)
	child, found := im.childFor(image)
	if !found {
		return ImageResult{}, fmt.Errorf("%w: %w; %s", errSkip, why, im.noChildFor(image))
	}
	result := ImageResult{Digest: child, Index: image.Digest, Reason: fmt.Sprintf("%v; its names lead to its %s image, of another digest", why, im.options.Platform)}
	alone := image
	alone.Digest = child
	present, err := im.push.present(ctx, alone)
	if err != nil || present {
		result.State = StatePresent
		return result, err
	}
	result.State = StateImported
	return result, im.push.image(ctx, alone)
}

// childFor is the child of an image that may take its names: of the wanted platform,
// where the image is sparse and known by its tag only.
func (im *Importer) childFor(image placed) (digest.Digest, bool) {
	ref, err := oci.ParseReference(image.Reference)
	if _, sparse := im.nodes.sparseBelow(image.Digest, im.sparse); err != nil || ref.Digest != "" || !sparse {
		return "", false
	}
	return im.imageFor(image.Digest)
}

// imageFor finds the image of the wanted platform that is carried of an index, in
// the index itself before those in it.
func (im *Importer) imageFor(index digest.Digest) (digest.Digest, bool) {
	seen := map[digest.Digest]bool{index: true}
	for next := []digest.Digest{index}; len(next) > 0; next = next[1:] {
		n, err := oci.ParseNode(im.nodes[next[0]].MediaType, im.raw[next[0]])
		if err != nil {
			return "", false
		}
		for _, child := range n.Children {
			carried, is := im.nodes[child.Digest]
			switch {
			case !is || seen[child.Digest]:
			case carried.Config == "":
				next = append(next, child.Digest)
			case child.Platform != nil && im.options.Platform.Runs(*child.Platform):
				return child.Digest, true
			}
			seen[child.Digest] = true
		}
	}
	return "", false
}

// noChildFor says why no child takes an image's names.
func (im *Importer) noChildFor(image placed) string {
	if ref, _ := oci.ParseReference(image.Reference); ref.Digest != "" {
		return "it is known by its digest, which no other image has"
	}
	return fmt.Sprintf("it has no image for %s", im.options.Platform)
}

// whereRefused says what happens to a sparse image at a registry that refuses it.
func (im *Importer) whereRefused(image placed) string {
	if ref, _ := oci.ParseReference(image.Reference); ref.Digest != "" {
		return "a registry that takes no sparse lists refuses it"
	}
	return fmt.Sprintf("where a registry refuses that, its names lead to its %s image", im.options.Platform)
}

func images(n int) string {
	if n == 1 {
		return "1 image"
	}
	return fmt.Sprintf("%d images", n)
}
