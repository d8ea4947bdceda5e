package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// many measures what does not grow with bytes but with images: planning, and
// the import of what is there. Requests are counted in runs of their own, by a
// proxy that would disturb the time.
func (b *bench) many() (err error) {
	c, err := b.ready("many")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.clear()) }()
	b.printf("\n## %s\n", works["many"].title)
	plan := c.export()
	plan.args, plan.program, plan.before = append(plan.args, "--dry-run"), "airlift export --dry-run", nil
	planned, err := c.contest([]task{plan})
	if err != nil {
		return err
	}
	b.table("Planning", 0, planned)
	asked, err := c.counted(c.source, func(host string) task { return c.through(plan, host) })
	if err != nil {
		return err
	}
	b.printf("\n%.2f requests an image.\n", c.each(asked))
	if _, err := c.measure(c.export()); err != nil {
		return err
	}
	if err := c.again(); err != nil {
		return err
	}
	quick, err := c.counted(c.target, func(host string) task { return c.onceMore(host, false) })
	if err != nil {
		return err
	}
	checked, err := c.counted(c.target, func(host string) task { return c.onceMore(host, true) })
	b.printf("\n%.2f requests an image; with its check %.2f.\n", c.each(quick), c.each(checked))
	return err
}

// each is how many requests were made for an image.
func (c *carriage) each(t traffic) float64 { return float64(t.requests) / float64(len(c.references)) }

// through is an export, or the plan of one, from another address of the source.
func (c *carriage) through(t task, host string) task {
	images := c.path("images-through.txt")
	t.args = slices.Clone(t.args)
	for i, arg := range t.args {
		switch arg {
		case c.images:
			t.args[i] = images
		case c.source.host:
			t.args[i] = host
		}
	}
	before := t.before
	t.before = func() error {
		listed := strings.ReplaceAll(strings.Join(c.references, "\n"), c.source.host, host)
		if err := os.WriteFile(images, []byte(listed), 0o644); err != nil || before == nil {
			return err
		}
		return before()
	}
	return t
}

// onceMore is an import through another address of the registry, which has all of it.
func (c *carriage) onceMore(host string, check bool) task {
	t := c.importing()
	t.before = func() error { return os.RemoveAll(c.path("manifests")) }
	for i, arg := range t.args {
		if arg == c.target.host {
			t.args[i] = host
		}
	}
	if check {
		t.args = t.args[:len(t.args)-1]
	}
	return t
}

// traffic is what went through a proxy.
type traffic struct {
	requests int64
	blobs    int64 // bytes of blobs that were fetched
}

// counted runs a task that goes to a registry through a proxy, and counts what it
// asks for and gets.
func (c *carriage) counted(to *registry, through func(host string) task) (traffic, error) {
	var requests, blobs atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to.host})
	proxy.ModifyResponse = func(r *http.Response) error {
		if requests.Add(1); strings.Contains(r.Request.URL.Path, "/blobs/") {
			r.Body = &countedBody{r.Body, &blobs}
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	_, err := c.measure(through(server.Listener.Addr().String()))
	return traffic{requests.Load(), blobs.Load()}, err
}

type countedBody struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}
