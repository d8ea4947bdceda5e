package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"
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
	fmt.Printf("\n## %s\n", works["many"].title)
	plan := c.export()
	plan.args, plan.program, plan.before = append(plan.args, "--dry-run"), "airlift export --dry-run", nil
	planned, err := c.contest([]task{plan})
	if err != nil {
		return err
	}
	if _, err := c.measure(c.export()); err != nil {
		return err
	}
	if err := c.again(); err != nil {
		return err
	}
	table("Planning", 1, planned)
	images := float64(len(c.references))
	asked, err := c.counted(c.source, func(host string) task {
		mirrored := plan
		mirrored.args = append(plan.args, "--source-mirror", c.source.host+"="+host, "--insecure-registry", host)
		return mirrored
	})
	if err != nil {
		return err
	}
	fmt.Printf("\nRequests of planning: %.2f an image.\n", float64(asked)/images)
	for _, check := range []bool{false, true} {
		asked, err = c.counted(c.target, func(host string) task { return c.onceMore(host, check) })
		if err != nil {
			return err
		}
		fmt.Printf("\nRequests of an import of what is there (its check: %t): %.2f an image.\n", check, float64(asked)/images)
	}
	return nil
}

// onceMore is an import through another name of the registry, which has all of it.
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

// counted runs a task that goes to a registry through a proxy, and counts its
// requests.
func (c *carriage) counted(to *registry, through func(host string) task) (int64, error) {
	var requests atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to.host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	_, err := c.measure(through(server.Listener.Addr().String()))
	return requests.Load(), err
}

// seconds of the median run.
func seconds(r result) float64 {
	return median(r, func(f figures) time.Duration { return f.wall }).Seconds()
}
