package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

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
func floor(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s takes HOST REPOSITORY PLAN FILE", args[0])
	}
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
	f := floorRun{ctx, "http://" + args[1] + "/v2/" + args[2] + "/blobs/", &http.Client{Transport: t}, file}
	one := f.push
	if args[0] == "floor-export" {
		one = f.fetch
	}
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(floorJobs)
	at := int64(0)
	for _, b := range blobs {
		begins := at
		group.Go(func() error { return one(b, begins) })
		at += b.Size
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if args[0] == "floor-export" {
		return file.Sync()
	}
	return nil
}

type floorRun struct {
	ctx    context.Context
	at     string
	client *http.Client
	file   *os.File
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
	sum := sha256.New()
	buffer := make([]byte, 1<<20)
	to := struct{ io.Writer }{io.MultiWriter(sum, io.NewOffsetWriter(f.file, at))}
	n, err := io.CopyBuffer(to, resp.Body, buffer)
	if err == nil && (n != b.Size || fmt.Sprintf("sha256:%x", sum.Sum(nil)) != b.Digest.String()) {
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
	body := struct{ io.Reader }{io.TeeReader(io.NewSectionReader(f.file, at, b.Size), sum)}
	q, err = http.NewRequestWithContext(f.ctx, http.MethodPut, where.String(), body)
	if err != nil {
		return err
	}
	q.ContentLength = b.Size
	if resp, err = f.client.Do(q); err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated || fmt.Sprintf("sha256:%x", sum.Sum(nil)) != b.Digest.String() {
		return fmt.Errorf("%s: %s", b.Digest, resp.Status)
	}
	return nil
}
