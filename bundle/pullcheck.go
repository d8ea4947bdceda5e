package bundle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// ErrUnpullable: a cluster could not pull all that a bundle brought.
var ErrUnpullable = errors.New("a cluster could not pull everything")

// PullOptions say how a registry is asked what a cluster could pull.
type PullOptions struct {
	Placement Placement // To is where the registry is asked, Cluster how nodes name it
	Full      bool      // read and hash every blob, instead of asking whether it is there
	Brief     bool      // ask for the manifests alone: what they need was just asked for by an import
	Jobs      int       // images at once; 0 = 8
	Progress  Progress
}

// PullResult says of one thing that a cluster asks for whether it would get it.
type PullResult struct {
	Way       string        `json:"way"`
	Reference string        `json:"reference"`
	Streams   []string      `json:"streams,omitempty"`
	Digest    digest.Digest `json:"digest"`
	From      string        `json:"from,omitempty"` // what serves it, as nodes name it
	OK        bool          `json:"ok"`
	Reason    string        `json:"reason,omitempty"` // why it would not
	Lost      bool          `json:"-"`                // it has the manifest, but not all that this needs
	Spoilt    bool          `json:"-"`                // likewise, and other bytes for some of that
}

// CheckPulls asks the registry for everything that a cluster pulls: each manifest
// with its digest, the children of indexes likewise, and each blob once in each
// repository. No other host is asked, and nothing is pushed: what only another
// host could serve is what a cluster cannot pull. client has the credentials and
// the certificates that nodes have.
//
// The results are in the order of the pulls. The error is of the check itself;
// [PullVerdict] makes one of the results.
func (b *Bundle) CheckPulls(ctx context.Context, client *oci.Client, pulls []Pull, o PullOptions) ([]PullResult, error) {
	content := &b.Inventory.Content
	c := &pullCheck{
		client: client, options: o, nodes: content.nodeByDigest(), blobs: map[digest.Digest]int64{},
		done: o.Progress.begin("check", "references", int64(len(pulls))),
	}
	for _, blob := range content.Blobs {
		c.blobs[blob.Digest] = blob.Size
	}
	if err := c.reach(ctx, pulls); err != nil {
		return nil, err
	}
	results := make([]PullResult, len(pulls))
	err := forEach(ctx, jobs(o.Jobs), len(pulls), func(ctx context.Context, i int) error {
		results[i] = c.pull(ctx, pulls[i])
		c.done.add(1)
		return ctx.Err()
	})
	return results, err
}

// Tags asks the registry what the tags of sparse lists lead to, which without the report
// of an import only it knows; see [Content.Standing]. It gives up where the registry
// cannot be asked, as CheckPulls will find.
func (b *Bundle) Tags(ctx context.Context, client *oci.Client, p Placement) map[string]digest.Digest {
	var mu sync.Mutex
	found, content := map[string]digest.Digest{}, &b.Inventory.Content
	images, _ := p.places(content) // of what has no place nothing is known
	sparse, nodes := content.sparseByDigest(), content.nodeByDigest()
	_ = forEach(ctx, jobs(0), len(images), func(ctx context.Context, i int) error {
		ref, err := oci.ParseReference(images[i].Reference)
		if _, is := nodes.sparseBelow(images[i].Digest, sparse); err != nil || ref.Digest != "" || !is {
			return nil
		}
		n, err := client.Node(ctx, p.pushed(images[i].names[0]))
		if err != nil && !errors.As(err, new(*oci.StatusError)) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		found[images[i].Reference] = n.Descriptor.Digest
		return nil
	})
	return found
}

// PullVerdict is the error of what a check found: of the class ErrUnpullable, or
// nil.
func PullVerdict(results []PullResult) error {
	lost := 0
	for _, r := range results {
		if !r.OK {
			lost++
		}
	}
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d references", ErrUnpullable, lost, len(results))
}

// pullCheck asks everything once.
type pullCheck struct {
	client  *oci.Client
	options PullOptions
	nodes   nodeTable
	blobs   map[digest.Digest]int64 // sizes
	done    *tally
	answers answers

	distrust error // nodes would not speak to the registry at all
}

// reach makes sure that there is a registry which speaks to us. If its
// certificate is what keeps us from it, nodes can pull nothing, and it is not
// asked again for every image. What else it answers is of no interest yet.
func (c *pullCheck) reach(ctx context.Context, pulls []Pull) error {
	for _, p := range pulls {
		for _, source := range p.Sources {
			at, there := c.options.Placement.address(source.Name)
			if !there {
				continue
			}
			err := c.client.Ping(ctx, at, false)
			switch answered := new(oci.StatusError); {
			case c.isDistrust(err):
				c.distrust = err
				return nil
			case errors.As(err, &answered):
				return nil
			}
			return err
		}
	}
	return nil
}

// isDistrust says whether nodes would refuse to speak to the registry for the
// same reason: its certificate, or that it has none, or wants one of nodes, which
// show none. Where they know it by another name, what belongs to the name used
// here says nothing about them.
func (c *pullCheck) isDistrust(err error) bool {
	var refused *tls.CertificateVerificationError
	var host x509.HostnameError
	if c.options.Placement.To.Host != c.options.Placement.Cluster.Host {
		return errors.As(err, &refused) && !errors.As(err, &host)
	}
	return errors.As(err, &refused) || errors.Is(err, http.ErrSchemeMismatch) || errors.Is(err, oci.ErrCertificateWanted)
}

// pull goes through the places where something is looked for, as the cluster
// does: the first that has the manifest must have all of it.
func (c *pullCheck) pull(ctx context.Context, p Pull) PullResult {
	r := PullResult{Way: p.Way, Reference: p.Reference, Streams: p.Streams, Digest: p.Digest}
	if p.Fault != nil {
		r.Reason = p.Fault.Error()
		return r
	}
	ref, err := oci.ParseReference(p.Reference)
	if err != nil {
		r.Reason = err.Error()
		return r
	}
	var reasons []string
	for i, source := range p.Sources {
		own := i == len(p.Sources)-1 // the reference's, not a mirror
		at, there := c.options.Placement.address(source.Name)
		at.Tag, at.Digest = ref.Tag, ref.Digest
		switch {
		case there && !source.Blocked:
			served, err := c.serves(ctx, at, p.Digest)
			switch {
			case served && err == nil:
				r.From, r.OK = source.Name, true
				return r
			case served:
				r.From, r.Reason, r.Lost, r.Spoilt = source.Name, err.Error(), !errors.As(err, new(*anotherError)), isSpoilt(err)
				return r
			}
			reasons = append(reasons, err.Error())
		case own && i > 0: // what the mirrors said is reason enough
		case source.Blocked:
			reasons = append(reasons, source.Name+" is blocked")
		case own:
			reasons = append(reasons, "no mirror is given for it: a cluster would ask "+ref.Registry)
		default:
			reasons = append(reasons, source.Name+" is in another registry, which was not asked")
		}
	}
	r.Reason = strings.Join(reasons, "; ")
	return r
}

// serves says whether a place has the manifest, which settles where all of the
// image is pulled from, and what is wrong with it.
func (c *pullCheck) serves(ctx context.Context, at oci.Reference, want digest.Digest) (bool, error) {
	got, err := c.node(ctx, at)
	if err != nil {
		return false, err
	}
	return true, c.whole(ctx, at, got, want)
}

// node fetches a manifest, by digest or else by tag.
func (c *pullCheck) node(ctx context.Context, at oci.Reference) (digest.Digest, error) {
	if c.distrust != nil {
		return "", c.distrust
	}
	if at.Digest != "" {
		at.Tag = ""
	}
	return c.answers.ask(at.String(), func() (digest.Digest, error) {
		n, err := c.client.Node(ctx, at)
		return n.Descriptor.Digest, err
	})
}

// whole holds what a place serves against what the bundle has: its digest, and
// all that lies below it in the same repository.
func (c *pullCheck) whole(ctx context.Context, at oci.Reference, got, want digest.Digest) error {
	if got != want {
		return &anotherError{at, got, want}
	}
	if c.options.Brief {
		return nil
	}
	var nodes []Node
	c.nodes.walk(want, func(n Node) { nodes = append(nodes, n) })
	for _, n := range nodes {
		if n.Digest != want {
			if _, err := c.node(ctx, at.WithDigest(n.Digest)); err != nil {
				return fmt.Errorf("a part of it: %w", err)
			}
		}
		for _, d := range n.blobs() {
			if err := c.blob(ctx, at, d); err != nil {
				return fmt.Errorf("a part of it: %w", err)
			}
		}
	}
	return nil
}

// anotherError: a name leads to another image than it should.
type anotherError struct {
	at        oci.Reference
	got, want digest.Digest
}

func (e *anotherError) Error() string {
	return fmt.Sprintf("%s is another image, %s, not %s", e.at, e.got, e.want)
}

// blob asks for a blob, once in each repository.
func (c *pullCheck) blob(ctx context.Context, at oci.Reference, d digest.Digest) error {
	_, err := c.answers.ask(at.WithDigest(d).String()+" blob", func() (digest.Digest, error) {
		blob := ocispec.Descriptor{Digest: d, Size: c.blobs[d]}
		if c.options.Full {
			return d, readBlob(ctx, c.client, at, blob)
		}
		return d, c.client.CanPullBlob(ctx, at, blob)
	})
	return err
}
