package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
)

// platformFlags are what export leaves out.
func platformFlags(c *cli.Context) (platforms []oci.Platform, err error) {
	for _, s := range c.StringSlice("platform") {
		p, err := oci.ParsePlatform(s)
		if err != nil {
			return nil, usagef("--platform: %w", err)
		}
		platforms = append(platforms, p)
	}
	if c.Bool("sparse") && len(platforms) == 0 {
		return nil, usagef("--sparse needs --platform, which says what is carried of lists")
	}
	return platforms, nil
}

// warnNarrowed says, once, what narrowing did that may not be expected: lists that
// it left whole, or those that it made sparse although they are known by digest.
func warnNarrowed(c *cli.Context, content *bundle.Content) {
	whole, sparse := content.Pinned()
	switch {
	case !c.IsSet("platform"):
	case !c.Bool("sparse") && whole > 0:
		say(os.Stderr, "%s named by digest, as those of releases are, and carried with all platforms: their digests are of the whole (--sparse leaves out the others all the same)", count(whole, "list"))
	case sparse > 0:
		say(os.Stderr, "warning: %s named by digest will lack the images of other platforms: nodes of those cannot pull them, and most registries refuse them", count(sparse, "list"))
		say(os.Stderr, "hint: %s", sparseHint)
	}
}

// sparseHint says which registries take lists that lack children.
const sparseHint = "distribution 3 takes sparse lists with validation.manifests.indexes.platforms: none, Quay with FEATURE_SPARSE_INDEX: true, OpenShift's internal registry as it is"
