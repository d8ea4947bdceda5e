package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
)

// floorJobs are as many as airlift fetches and pushes with by default.
const floorJobs = 8

// floor is the least that an export or import can do: each blob fetched once,
// hashed once and written once into one file, which is then synced; or read once
// at a known offset, hashed once and pushed once, in one PUT.
//
//	floor-export HOST REPOSITORY PLAN FILE
//	floor-import HOST REPOSITORY PLAN FILE
//
// A copy is the same without hashing.
func floor(ctx context.Context, args []string) error {
	data, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	var blobs []blob
	if err := json.Unmarshal(data, &blobs); err != nil {
		return err
	}
	file, err := os.OpenFile(args[4], os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = floorJobs
	f := floorRun{ctx, "http://" + args[1] + "/v2/" + args[2] + "/blobs/", &http.Client{Transport: t}, file, strings.HasPrefix(args[0], "floor-")}
	one := floorVerbs[args[0]]
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(floorJobs)
	at := int64(0)
	for _, b := range blobs {
		begins := at
		group.Go(func() error { return one(f, b, begins) })
		at += b.Size
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return file.Sync()
}

// floorVerbs are what one blob takes, which stands at an offset of the file.
var floorVerbs = map[string]func(f floorRun, b blob, at int64) error{
	"floor-export": floorRun.fetch, "floor-import": floorRun.push,
	"copy-export": floorRun.fetch, "copy-import": floorRun.push,
}

type floorRun struct {
	ctx    context.Context
	at     string
	client *http.Client
	file   *os.File
	hashes bool
}

func (b blob) is(sum hash.Hash) bool {
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)) == b.Digest.String()
}

func (f floorRun) fetch(b blob, at int64) error {
	q, err := http.NewRequestWithContext(f.ctx, http.MethodGet, f.at+b.Digest.String(), nil)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var to io.Writer = io.NewOffsetWriter(f.file, at)
	sum := sha256.New()
	if f.hashes {
		to = io.MultiWriter(sum, to)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, resp.Body, make([]byte, 1<<20))
	if err == nil && (n != b.Size || f.hashes && !b.is(sum)) {
		err = fmt.Errorf("%s: %d other bytes, %s", b.Digest, n, resp.Status)
	}
	return err
}

func (f floorRun) push(b blob, at int64) error {
	q, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.at+"uploads/", nil)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(q)
	if err != nil {
		return err
	}
	resp.Body.Close()
	where, err := resp.Location()
	if err != nil {
		return err
	}
	query := where.Query()
	query.Set("digest", b.Digest.String())
	where.RawQuery = query.Encode()
	sum := sha256.New()
	var body io.Reader = io.NewSectionReader(f.file, at, b.Size)
	if f.hashes {
		body = io.TeeReader(body, sum)
	}
	body = struct{ io.Reader }{body}
	q, err = http.NewRequestWithContext(f.ctx, http.MethodPut, where.String(), body)
	if err != nil {
		return err
	}
	q.ContentLength = b.Size
	if resp, err = f.client.Do(q); err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated || f.hashes && !b.is(sum) {
		return fmt.Errorf("%s: %s", b.Digest, resp.Status)
	}
	return nil
}
