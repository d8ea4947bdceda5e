package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// leftOutEntry stands for a blob that is not in the archive.
func leftOutEntry(b Blob) Entry { return Entry{Digest: b.Digest, Size: b.Size, Offset: -1} }

func (e Entry) isLeftOut() bool { return e.Offset < 0 }

// BaseError: the registry lacks blobs that an increment leaves out. Nothing was
// written.
type BaseError struct {
	Blobs   []digest.Digest // that no repository has, in the order of the content
	Damaged []digest.Digest // likewise, but that one has with other bytes
	Denied  []digest.Digest // likewise, but that one may have which does not let us ask; some may be damaged in another
	Refusal error           // what one of these answered; nil if nothing is denied
	Base    []Base          // the bundles that brought them, as the increment says
	Alone   bool            // no receipt said where they could be
	what    string          // of the blobs, for people
}

func (e *BaseError) Error() string {
	lacks := "lacks"
	if len(e.Damaged) > 0 {
		lacks += " or has damaged"
	}
	if len(e.Denied) > 0 {
		lacks += " or hides"
	}
	return fmt.Sprintf("the bundle is an increment, and the registry %s %d of the blobs that it leaves out: %s; what has them is the base: %s", lacks, len(e.All()), e.what, BaseWords(e.Base))
}

// All are the blobs that the registry does not give, each once.
func (e *BaseError) All() []digest.Digest {
	listed := map[digest.Digest]bool{}
	return slices.DeleteFunc(slices.Concat(e.Blobs, e.Damaged, e.Denied), func(d digest.Digest) bool {
		was := listed[d]
		listed[d] = true
		return was
	})
}

// BaseWords name the bundles of a base, the last one first.
func BaseWords(base []Base) string {
	var words []string
	for _, b := range slices.Backward(base) {
		words = append(words, b.String())
	}
	return listSome(words, 3)
}

// AskBase asks a registry for all that an increment leaves out, where Import would ask
// and before it writes anything: a *BaseError says what is not there. It writes nothing.
func (b *Bundle) AskBase(ctx context.Context, client *oci.Client, o ImportOptions) error {
	im := NewImporter(client, o)
	if err := im.plan(b); err != nil {
		return err
	}
	return newPusher(im).askBase(ctx)
}

// askBase asks for every blob that is left out, wherever it could be; of a shard,
// for those that its images need. It writes nothing.
func (p *pusher) askBase(ctx context.Context) error {
	var left []digest.Digest
	for _, d := range p.im.bundle.Inventory.Storage.LeftOut {
		if len(p.blobs[d].needed) > 0 {
			left = append(left, d)
		}
	}
	if len(left) == 0 {
		return nil
	}
	done := p.im.options.Progress.begin("base", "blobs", int64(len(left)))
	var mu sync.Mutex
	absent := map[digest.Digest][]error{}
	err := forEach(ctx, jobs(p.im.options.Jobs), len(left), func(ctx context.Context, i int) error {
		found, doubts, err := p.inBase(ctx, p.blobs[left[i]])
		if err == nil && !found {
			mu.Lock()
			defer mu.Unlock()
			absent[left[i]] = doubts
		}
		done.add(1)
		return err
	})
	if err != nil || len(absent) == 0 {
		return err
	}
	return p.im.baseError(absent)
}

// baseError words what is absent, with the images that need it and what speaks
// against that it is.
func (im *Importer) baseError(absent map[digest.Digest][]error) error {
	inv := im.bundle.Inventory
	e := &BaseError{Base: inv.About.Base, Alone: im.options.Receipt == nil}
	users := inv.Content.users()
	var lines []string
	for _, d := range inv.Storage.LeftOut {
		doubts, is := absent[d]
		if !is {
			continue
		}
		denied, spoilt := slices.IndexFunc(doubts, oci.IsDenied), slices.ContainsFunc(doubts, isSpoilt)
		if denied >= 0 {
			e.Denied, e.Refusal = append(e.Denied, d), doubts[denied]
		}
		if spoilt {
			e.Damaged = append(e.Damaged, d)
		}
		if denied < 0 && !spoilt {
			e.Blobs = append(e.Blobs, d)
		}
		line := fmt.Sprintf("%s (needed by %s)", d, listSome(users[d], 2))
		if len(doubts) > 0 {
			line += ": " + listSome(texts(doubts), 3)
		}
		lines = append(lines, line)
	}
	e.what = listSome(lines, 5)
	return e
}

func texts(errs []error) []string {
	all := make([]string, len(errs))
	for i, err := range errs {
		all[i] = err.Error()
	}
	return all
}

// inBase says whether one of the repositories where a blob could be has it; if none
// does, which of them does not let us ask, or says so and has none or other bytes. It is
// for preflight to say that one cannot be pushed to: another may have the blob. Whatever
// else goes wrong says nothing of the blob, and is the error.
func (p *pusher) inBase(ctx context.Context, b *pushedBlob) (found bool, doubts []error, err error) {
	for _, at := range p.base.of(b) {
		found, err := p.hasBase(ctx, b, at)
		switch {
		case oci.IsDenied(err):
			doubts = append(doubts, fmt.Errorf("%s does not say: %w", at.Name(), err))
		case oci.IsMissing(err) || isSpoilt(err):
			doubts = append(doubts, fmt.Errorf("%s says that it has it: %w", at.Name(), err))
		case err != nil:
			return false, nil, fmt.Errorf("ask for what this increment leaves out: %w", err)
		case found:
			p.arrived(b, at, wasThere)
			return true, nil, nil
		}
		b.repositories[at.Repository] = wasNot
	}
	return false, doubts, nil
}

// hasBase says whether a repository has a blob: by its word, or by its bytes.
func (p *pusher) hasBase(ctx context.Context, b *pushedBlob, at oci.Reference) (bool, error) {
	if !p.base.stands(ctx, p.im.client, b, at) {
		return false, nil
	}
	found, err := p.im.client.HasBlob(ctx, at, b.entry.descriptor())
	if err == nil && found && p.im.options.Prove {
		err = readBlob(ctx, p.im.client, at, b.entry.descriptor())
	}
	return found, err
}

// isSpoilt says whether a registry has other bytes under the digest of a blob.
func isSpoilt(err error) bool {
	return errors.Is(err, errOtherDigest) || errors.Is(err, oci.ErrOtherSize)
}

// readBlob reads a blob from a registry and hashes it. isSpoilt says of the error
// whether it is about the bytes.
func readBlob(ctx context.Context, client *oci.Client, at oci.Reference, blob ocispec.Descriptor) error {
	body, err := client.Blob(ctx, at, blob)
	if err == nil {
		defer body.Close()
		sum := sha256.New()
		_, err = io.Copy(sum, body)
		if got := digest.NewDigest(digest.SHA256, sum); err == nil && got != blob.Digest {
			err = fmt.Errorf("%w: the registry sent %s", errOtherDigest, got)
		}
	}
	if err != nil {
		err = fmt.Errorf("check blob %s of %s: %w", blob.Digest, at.Name(), err)
	}
	return err
}

// fromBase copies a blob that is left out from whichever other repository has it.
func (p *pusher) fromBase(ctx context.Context, to oci.Reference, b *pushedBlob) error {
	failed := fmt.Errorf("%s was left out of this bundle, and no other repository gives it", b.entry.Digest)
	for _, at := range p.base.of(b) {
		if at.Repository == to.Repository || b.repositories[at.Repository] == wasNot {
			continue
		}
		err := p.copy(ctx, to, b.entry, at.Repository)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// places are where blobs could be that are left out.
type places struct {
	listed map[digest.Digest][]oci.Reference // as the receipt says
	others []oci.Reference                   // all that earlier imports pushed to
	there  *answers                          // of those, which are repositories at all
}

func (im *Importer) places() places {
	p, o := im.options.Placement, im.options
	at := places{listed: o.Receipt.places(p.To.Host), there: &answers{}}
	for _, h := range o.Held {
		for _, name := range h.Names {
			if ref, there := p.address(repositoryOf(name)); there {
				at.others = union(at.others, []oci.Reference{ref})
			}
		}
	}
	return at
}

// likely are the places where a blob should be.
func (at places) likely(b *pushedBlob) []oci.Reference {
	return union(at.listed[b.entry.Digest], b.needed)
}

// of are the places of a blob, the likely ones first.
func (at places) of(b *pushedBlob) []oci.Reference { return union(at.likely(b), at.others) }

// stands is false of a repository that is not there, and so need not be asked for every
// blob that might be anywhere; where a blob should be, asking for it is answer enough.
func (at places) stands(ctx context.Context, client *oci.Client, b *pushedBlob, ref oci.Reference) bool {
	if slices.Contains(at.likely(b), ref) {
		return true
	}
	_, err := at.there.ask(ref.Name(), func() (digest.Digest, error) {
		there, err := client.HasRepository(ctx, ref)
		if err == nil && !there {
			err = errNoRepository
		}
		return "", err
	})
	return !errors.Is(err, errNoRepository)
}

var errNoRepository = errors.New("no such repository")
