package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// listLimit is how long a registry may take for a list of tags. Some read one file
// for each of them.
const listLimit = 10 * time.Second

// Tags lists the tags of r's repository, if the registry gives all of them in one
// answer, of at most MaxNodeSize. All else is an error: one page of several, too. It
// is asked once: whatever a list is of use for can be had without it.
//
// That a tag is not listed does not mean that it cannot be had: a registry that
// fetches what it is asked for from another one may list what it has fetched.
func (c *Client) Tags(ctx context.Context, r Reference) ([]string, error) {
	r = c.Locate(r)
	q := ask(http.MethodGet, r, pull, "/tags/list", http.StatusOK)
	q.limit = min(listLimit, c.stall)
	resp, raw, err := c.fetchOnce(ctx, q, MaxNodeSize)
	if err != nil {
		return nil, err
	}
	next, err := nextPage(q.url, resp.Header)
	if err == nil && next != nil {
		err = errors.New("it has more than one page")
	}
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", r.Name(), err)
	}
	tags, err := parseTags(raw)
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", r.Name(), err)
	}
	return tags, nil
}

// parseTags reads an answer. Where there are none some registries say null.
func parseTags(raw []byte) (tags []string, err error) {
	if err := CheckJSON(raw); err != nil {
		return nil, err
	}
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	if _, said := o["tags"]; !said {
		return nil, errors.New("it has no tags")
	}
	if err := o.read("tags", &tags); err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if !tagPattern.MatchString(tag) {
			return nil, fmt.Errorf("%q is not a tag", clean(tag))
		}
	}
	return tags, nil
}
