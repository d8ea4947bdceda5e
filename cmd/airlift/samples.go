package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
)

// samplesChoices are the flags of export that mean nothing without --samples.
var samplesChoices = []string{"samples-include", "samples-exclude", "samples-arch"}

// samplesRequest is what export was asked to carry of the releases' samples; nil
// for nothing.
func samplesRequest(c *cli.Context) (*bundle.SamplesRequest, error) {
	if !c.Bool("samples") {
		for _, flag := range samplesChoices {
			if c.IsSet(flag) {
				return nil, usagef("--%s needs --samples", flag)
			}
		}
		return nil, nil
	}
	if len(c.StringSlice("release")) == 0 {
		return nil, usagef("--samples needs --release: the samples are those of a release")
	}
	r := &bundle.SamplesRequest{Include: c.StringSlice("samples-include"), Exclude: c.StringSlice("samples-exclude")}
	for _, pattern := range slices.Concat(r.Include, r.Exclude) {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return nil, usagef("%q is no pattern: * stands for anything, ? for a character, [a-z] for one of these", pattern)
		}
	}
	for _, arch := range c.StringSlice("samples-arch") {
		if arch == "all" {
			r.All = true
			continue
		}
		r.Architectures = append(r.Architectures, manifest.PayloadArch(arch))
	}
	return r, nil
}

// samplesFlags say what the samples operator of a cluster is told.
func samplesFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "samples-arch", Usage: "write the samples patch for a cluster of `ARCH`: x86_64, aarch64, ppc64le or s390x; needed where the bundle has samples for several"},
		&cli.StringFlag{Name: "samples-release", Usage: "write the samples patch for a cluster of release `VERSION` (default: the newest with samples)"},
		&cli.StringFlag{Name: "skip-streams", Value: manifest.SkipAny, Usage: "skip image streams of which `TAGS` are missing: any, or all-missing"},
		&cli.StringFlag{Name: "samples-state", Value: "Managed", Usage: "make the samples operator create the samples (Managed) or remove them (`STATE` Removed)"},
		&cli.StringFlag{Name: "current-samples-config", Usage: "keep what the cluster skips already, as `FILE` says: oc get configs.samples.operator.openshift.io/cluster -o yaml"},
	}
}

// samplesOptions puts what the flags say into options; what they do not say
// stays.
func samplesOptions(c *cli.Context, o *bundle.SamplesOptions) error {
	if c.IsSet("samples-arch") {
		o.SamplesArch = manifest.PayloadArch(c.String("samples-arch"))
	}
	if c.IsSet("samples-release") {
		o.SamplesRelease = c.String("samples-release")
	}
	switch policy := c.String("skip-streams"); {
	case policy != manifest.SkipAny && policy != manifest.SkipAllMissing:
		return usagef("--skip-streams %s: must be %s or %s", policy, manifest.SkipAny, manifest.SkipAllMissing)
	case c.IsSet("skip-streams"):
		o.SkipStreams = policy
	}
	switch state := c.String("samples-state"); {
	case state != bundle.SamplesManaged && state != bundle.SamplesRemoved:
		return usagef("--samples-state %s: must be Managed or Removed", state)
	case c.IsSet("samples-state"):
		o.SamplesState = state
	}
	if file := c.String("current-samples-config"); file != "" {
		data, err := readLimited(file, maxInputFile)
		if err != nil {
			return err
		}
		config, err := manifest.ParseSamplesConfig(data)
		if err != nil {
			return usagef("--current-samples-config %s: %w", file, err)
		}
		o.Current = &config
	}
	return nil
}

// printSamples says what the samples operator is told, and what that costs:
// streams that are not whole have a line each.
func printSamples(c *cli.Context, report *bundle.Report, objects *bundle.Objects) error {
	if report.Options.SamplesState == bundle.SamplesRemoved {
		fmt.Fprintln(c.App.Writer, "samples: the patch removes all of them")
		return nil
	}
	s, err := report.Samples()
	if s == nil || err != nil {
		return err
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	skipped := 0
	for _, one := range s.Streams {
		if one.Skipped {
			skipped++
		}
	}
	if slices.ContainsFunc(s.Streams, func(one bundle.SampleState) bool { return one.Why != "" }) {
		fmt.Fprintln(t, "imagestream\tcarried\tmissing\tskipped\twhy")
	}
	for _, one := range s.Streams {
		if one.Why != "" {
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", one.Name, one.Carried, one.Missing, yesOrNo(one.Skipped), printable(one.Why))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, one := range s.Templates {
		fmt.Fprintf(c.App.Writer, "template %s is skipped: %s\n", one.Name, printable(one.Why))
	}
	fmt.Fprintf(c.App.Writer, "samples%s: %d of %s skipped", samplesOf(s.Operator), skipped, count(len(s.Streams), "imagestream"))
	if cost := s.Cost(); cost > 0 {
		fmt.Fprintf(c.App.Writer, ", which costs %s that the registry has", count(cost, "tag"))
	}
	fmt.Fprintln(c.App.Writer)
	sayOfSamples(c, report, s, slices.Contains(objects.Files(), bundle.SamplesFile))
	return nil
}

func yesOrNo(is bool) string { return map[bool]string{true: "yes", false: "no"}[is] }

// samplesOf names the operator: " of 4.17.3 for x86_64".
func samplesOf(o bundle.SamplesOperator) string {
	if o.Version == "" {
		return ""
	}
	return " of " + o.Version + " for " + o.Samples.Architecture
}

// sayOfSamples says what the lists do not.
func sayOfSamples(c *cli.Context, report *bundle.Report, s *bundle.SamplesState, patched bool) {
	w := c.App.Writer
	if len(s.Foreign) > 0 {
		fmt.Fprintf(w, "no longer skipped, because this samples operator has nothing of the name: %s\n", printable(strings.Join(s.Foreign, ", ")))
	}
	switch {
	case !patched:
		fmt.Fprintln(w, "no imagestream is whole, so there is no samples patch; --samples-state Removed writes one that removes the samples")
		return
	case s.Registry == "":
		fmt.Fprintf(w, "samplesRegistry stays empty: no registry can stand for the samples' own (%s); image streams are imported through the ImageTagMirrorSet, which takes OpenShift 4.14 or later\n", printable(s.Fault))
	}
	if report.Options.Current == nil {
		fmt.Fprintln(w, "the patch replaces the cluster's lists of what is skipped; --current-samples-config keeps what its administrator skips")
	}
}
