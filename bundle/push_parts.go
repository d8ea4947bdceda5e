package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// begunUpload is a blob that is cut over media, on its way to the registry: each
// medium in its turn brings a part.
type begunUpload struct {
	to     oci.Reference // its repository
	upload *oci.Upload
	sum    hash.Hash
	done   int64 // bytes that the registry has
}

// elsewhere brings a blob that is not at hand as a whole: copied from where the
// registry has it, or part by part as its media come. errSkip says that a volume
// is needed that was not given.
func (p *pusher) elsewhere(ctx context.Context, to oci.Reference, b *pushedBlob, since int64) error {
	if b.entry.isLeftOut() {
		return p.fromBase(ctx, to, b)
	}
	if from := b.origin(to, since); from != "" {
		return p.copy(ctx, to, b.entry, from)
	}
	switch {
	case len(p.im.volumes) == 0:
		return fmt.Errorf("the registry does not have %s any more, and the stream has gone by", b.entry.Digest)
	case b.damaged != nil:
		_ = p.im.absentFrom(b.entry, 0)
		return b.damaged
	}
	from, err := p.part(ctx, to, b)
	if err != nil || from == to {
		return err
	}
	p.arrived(b, from, wasSent)
	return p.copy(ctx, to, b.entry, from.Repository) // it was begun for another repository
}

// origin is another repository that has a blob. What one says to have is not
// believed where the registry has been found to be wrong about the blob.
func (b *pushedBlob) origin(to oci.Reference, since int64) string {
	if b.first == to.Repository || since > 0 && !b.isIn(b.first, since) {
		return ""
	}
	return b.first
}

// copy uploads a blob from another repository of the registry, for one that
// does not mount.
func (p *pusher) copy(ctx context.Context, to oci.Reference, e Entry, repository string) error {
	from := oci.Reference{Registry: to.Registry, Repository: repository, Digest: e.Digest}
	d := e.descriptor()
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
func (p *pusher) part(ctx context.Context, to oci.Reference, b *pushedBlob) (oci.Reference, error) {
	u := cmp.Or(b.begun, &begunUpload{to: to, sum: sha256.New()})
	v := p.im.volumes[0]
	n := v.from(b.entry.data()+u.done, b.entry.Size-u.done)
	if n == 0 || p.im.last {
		return to, p.im.absentFrom(b.entry, u.done)
	}
	b.begun = nil
	err := p.append(ctx, b.entry, u, v, n)
	switch {
	case err == nil && u.done < b.entry.Size:
		b.begun = u
		return to, p.im.absentFrom(b.entry, u.done)
	case err == nil:
		err = p.commit(ctx, b, u)
	}
	if err != nil {
		_ = p.im.absentFrom(b.entry, 0) // all of it is needed again
	}
	return u.to, err
}

func (p *pusher) append(ctx context.Context, e Entry, u *begunUpload, v *volumeSet, n int64) (err error) {
	if u.upload == nil {
		u.upload, err = p.im.client.BeginUpload(ctx, u.to, e.descriptor())
		if err != nil {
			return err
		}
	}
	section := io.TeeReader(&contextReader{ctx, v.section(e.data()+u.done, n)}, u.sum)
	if err := u.upload.Append(ctx, section, n); err != nil {
		u.upload.Cancel(ctx)
		return err
	}
	u.done += n
	return nil
}

func (p *pusher) commit(ctx context.Context, b *pushedBlob, u *begunUpload) error {
	if digest.NewDigest(digest.SHA256, u.sum) != b.entry.Digest {
		u.upload.Cancel(ctx)
		b.damaged = p.im.damaged(p.im.volumes[0], b.entry, fmt.Errorf("%w: they are on several volumes", errOtherDigest))
		return b.damaged
	}
	err := u.upload.Commit(ctx)
	if err != nil {
		u.upload.Cancel(ctx)
	}
	return err
}
