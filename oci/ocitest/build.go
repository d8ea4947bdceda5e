package ocitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker schema 2.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
	DockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// acceptManifests is what a builder reads back.
var acceptManifests = strings.Join([]string{
	DockerManifest, DockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
}, ", ")

// Builder pushes blobs, images and indexes to a registry. Repositories are
// paths on that registry ("library/busybox").
//
// The first error is kept and ends all further work: look at [Builder.Err] when
// done. The descriptors returned after an error mean nothing. A builder may be
// used from several goroutines.
type Builder struct {
	url    string // scheme://host[:port]
	client *http.Client

	mu       sync.Mutex
	err      error
	unpacked map[digest.Digest]digest.Digest // layer -> its diff id
	made     map[randomKey]ocispec.Descriptor
}

// NewBuilder returns a builder for the registry at host (HOST:PORT, plain
// HTTP). For one with TLS or credentials see [Registry.Builder].
func NewBuilder(host string) *Builder {
	return newBuilder("http://"+host, &http.Client{})
}

func newBuilder(url string, client *http.Client) *Builder {
	return &Builder{
		url: url, client: client,
		unpacked: map[digest.Digest]digest.Digest{},
		made:     map[randomKey]ocispec.Descriptor{},
	}
}

// Err returns the first error.
func (b *Builder) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// keep keeps the first error, and reports whether there is none so far.
func (b *Builder) keep(what string, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
	return b.err == nil
}

// Blob pushes data as it is, of media type application/octet-stream.
func (b *Builder) Blob(repo string, data []byte) ocispec.Descriptor {
	return b.blob(repo, "application/octet-stream", data)
}

func (b *Builder) blob(repo, mediaType string, data []byte) ocispec.Descriptor {
	d := describe(mediaType, data)
	if b.Err() == nil {
		b.keep("push blob "+repo+"@"+d.Digest.String(), b.pushBlob(repo, d, data))
	}
	return d
}

// Raw pushes raw as a manifest, whatever it says; ref is a tag, a digest, or ""
// for the digest of raw.
func (b *Builder) Raw(repo, ref, mediaType string, raw []byte) ocispec.Descriptor {
	d := describe(mediaType, raw)
	if ref == "" {
		ref = d.Digest.String()
	}
	if b.Err() == nil {
		header := http.Header{"Content-Type": {mediaType}}
		_, _, err := b.do(http.MethodPut, b.at(repo, "manifests", ref), header, raw)
		b.keep("push manifest "+repo+":"+ref, err)
	}
	return d
}

// Manifest reads a manifest back, by tag or digest.
func (b *Builder) Manifest(repo, ref string) (mediaType string, raw []byte) {
	if b.Err() != nil {
		return "", nil
	}
	header := http.Header{"Accept": {acceptManifests}}
	got, raw, err := b.do(http.MethodGet, b.at(repo, "manifests", ref), header, nil)
	if !b.keep("read manifest "+repo+":"+ref, err) {
		return "", nil
	}
	return got.Get("Content-Type"), raw
}

// BlobBytes reads a blob back.
func (b *Builder) BlobBytes(repo string, dg digest.Digest) []byte {
	if b.Err() != nil {
		return nil
	}
	_, data, err := b.do(http.MethodGet, b.at(repo, "blobs", dg.String()), nil, nil)
	b.keep("read blob "+repo+"@"+dg.String(), err)
	return data
}

// DeleteBlob takes a blob out of one repository.
func (b *Builder) DeleteBlob(repo string, dg digest.Digest) {
	if b.Err() == nil {
		_, _, err := b.do(http.MethodDelete, b.at(repo, "blobs", dg.String()), nil, nil)
		b.keep("delete blob "+repo+"@"+dg.String(), err)
		b.mu.Lock()
		defer b.mu.Unlock()
		clear(b.made) // it may have been one of them
	}
}

// DeleteManifest takes a manifest, and the tags that point to it, out of a
// repository.
func (b *Builder) DeleteManifest(repo string, dg digest.Digest) {
	if b.Err() == nil {
		_, _, err := b.do(http.MethodDelete, b.at(repo, "manifests", dg.String()), nil, nil)
		b.keep("delete manifest "+repo+"@"+dg.String(), err)
	}
}

// Tags returns the tags of a repository, sorted; none if there is no such
// repository.
func (b *Builder) Tags(repo string) []string {
	var list struct{ Tags []string }
	b.list("tags of "+repo, "/v2/"+repo+"/tags/list", &list)
	slices.Sort(list.Tags)
	return list.Tags
}

// Repositories returns the repositories that hold something, sorted, up to
// 1000 of them.
func (b *Builder) Repositories() []string {
	var list struct{ Repositories []string }
	b.list("repositories", "/v2/_catalog?n=1000", &list)
	slices.Sort(list.Repositories)
	return list.Repositories
}

func (b *Builder) list(what, path string, into any) {
	if b.Err() != nil {
		return
	}
	_, data, err := b.do(http.MethodGet, b.url+path, nil, nil)
	if missing(err) {
		return
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	b.keep("list "+what, err)
}

// pushBlob uploads a blob that the repository does not have.
func (b *Builder) pushBlob(repo string, d ocispec.Descriptor, data []byte) error {
	if _, _, err := b.do(http.MethodHead, b.at(repo, "blobs", d.Digest.String()), nil, nil); err == nil {
		return nil
	}
	header, _, err := b.do(http.MethodPost, b.at(repo, "blobs", "uploads/"), nil, nil)
	if err != nil {
		return err
	}
	base, err := url.Parse(b.url)
	if err != nil {
		return err
	}
	upload, err := base.Parse(header.Get("Location"))
	if err != nil {
		return err
	}
	query := upload.Query()
	query.Set("digest", d.Digest.String())
	upload.RawQuery = query.Encode()
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	_, _, err = b.do(http.MethodPut, upload.String(), octets, data)
	return err
}

// at is the address of something in a repository.
func (b *Builder) at(repo, kind, name string) string {
	return b.url + "/v2/" + repo + "/" + kind + "/" + name
}

// do sends one request; any answer but 2xx is an error.
func (b *Builder) do(method, url string, header http.Header, body []byte) (http.Header, []byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, nil, &answerError{method, resp.StatusCode, string(data)}
	}
	return resp.Header, data, nil
}

// answerError is an answer other than 2xx.
type answerError struct {
	method string
	status int
	body   string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.method, e.status, strings.TrimSpace(e.body))
}

// missing reports whether the answer was 404.
func missing(err error) bool {
	answer, ok := errors.AsType[*answerError](err)
	return ok && answer.status == http.StatusNotFound
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
