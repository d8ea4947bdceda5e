package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// begunUpload is a blob that lies on several media, on its way to the registry:
// each medium in its turn brings a part.
type begunUpload struct {
	to     oci.Reference // its repository
	upload *oci.Upload
	sum    hash.Hash
	done   int64 // bytes that the registry has
}

// elsewhere brings a blob that is not at hand as a whole: copied from where the
// registry has it, or piece by piece as its media come. errSkip says that a
// volume is needed that was not given.
func (p *pusher) elsewhere(ctx context.Context, to oci.Reference, e Entry) error {
	if from := p.blobs[e.Digest].first; from != "" {
		return p.copy(ctx, to, e, from)
	}
	from, err := p.part(ctx, to, e)
	if err != nil || from == to.Repository {
		return err
	}
	return p.copy(ctx, to, e, from) // it was begun for another repository
}

// copy uploads a blob from another repository of the registry, for one that
// does not mount.
func (p *pusher) copy(ctx context.Context, to oci.Reference, e Entry, repository string) error {
	from := oci.Reference{Registry: to.Registry, Repository: repository, Digest: e.Digest}
	d := ocispec.Descriptor{Digest: e.Digest, Size: e.Size}
	return p.im.client.PutBlob(ctx, to, d, func() (io.ReadCloser, error) {
		r, err := p.im.client.Blob(ctx, from, d)
		if err != nil {
			return nil, err
		}
		return closing{&checkedReader{r: r, sum: sha256.New(), want: e.Digest}, r}, nil
	})
}

// closing is a reader with the closer of what it reads from.
type closing struct {
	io.Reader
	io.Closer
}

// part appends to the upload of a blob what the volumes have of it from where it
// stands, and commits it when that is all. It gives the repository that has the
// blob then. An upload that fails is begun anew by the medium that has its start.
func (p *pusher) part(ctx context.Context, to oci.Reference, e Entry) (string, error) {
	u := p.im.takeBegun(e.Digest, to)
	n := p.im.volumes.from(e.data()+u.done, e.Size-u.done)
	if n > 0 {
		if err := p.append(ctx, e, u, n); err != nil {
			return "", err
		}
	}
	if u.done < e.Size {
		p.im.keepBegun(e.Digest, u)
		return "", p.lacking(e, u.done)
	}
	return u.to.Repository, p.commit(ctx, e, u)
}

// takeBegun gives the upload of a blob that an earlier medium began, or one that
// is about to begin.
func (im *importing) takeBegun(d digest.Digest, to oci.Reference) *begunUpload {
	im.mu.Lock()
	defer im.mu.Unlock()
	u := im.begun[d]
	delete(im.begun, d)
	if u == nil {
		u = &begunUpload{to: to, sum: sha256.New()}
	}
	return u
}

// keepBegun keeps an upload for the next medium.
func (im *importing) keepBegun(d digest.Digest, u *begunUpload) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if u.done > 0 {
		im.begun[d] = u
	}
}

func (p *pusher) append(ctx context.Context, e Entry, u *begunUpload, n int64) (err error) {
	if u.upload == nil {
		u.upload, err = p.im.client.BeginUpload(ctx, u.to, ocispec.Descriptor{Digest: e.Digest, Size: e.Size})
		if err != nil {
			return err
		}
	}
	section := io.TeeReader(&contextReader{ctx, p.im.volumes.section(e.data()+u.done, n)}, u.sum)
	if err := u.upload.Append(ctx, section, n); err != nil {
		u.upload.Cancel(ctx)
		return err
	}
	u.done += n
	return nil
}

func (p *pusher) commit(ctx context.Context, e Entry, u *begunUpload) error {
	if digest.NewDigest(digest.SHA256, u.sum) != e.Digest {
		u.upload.Cancel(ctx)
		return p.im.damaged(e, errors.New("the contents have another digest"))
	}
	return u.upload.Commit(ctx)
}

// lacking says which volume has the byte of a blob that is needed next, and notes
// that it is still to come.
func (p *pusher) lacking(e Entry, done int64) error {
	p.im.mu.Lock()
	defer p.im.mu.Unlock()
	spans := p.im.bundle.Layout.spans(e.data()+done, e.Size-done)
	name := p.im.bundle.Inventory.Storage.Volumes[spans[0].volume].Name
	p.im.absent[name] = true
	if len(p.im.bundle.Layout.spans(e.data(), e.Size)) > 1 {
		return fmt.Errorf("%w: %s is on several volumes; next is %s, which was not given", errSkip, e.Digest, name)
	}
	return fmt.Errorf("%w: %s is on %s, which was not given", errSkip, e.Digest, name)
}
