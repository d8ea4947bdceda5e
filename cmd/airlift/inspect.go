package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "say what a bundle holds, finished or not, believed or not",
		ArgsUsage: "DIR…",
		Description: "Without --trusted-key nothing is checked, and the output says so: it is what the medium\n" +
			"claims to be. Contents are never read; \"airlift verify\" does.",
		Flags:  slices.Concat(trustFlags(), []cli.Flag{formatFlag()}),
		Action: inspect,
	}
}

// overview is what inspect prints as JSON.
type overview struct {
	Content    string            `json:"content"`  // id
	Verified   bool              `json:"verified"` // a trusted key's signature fits
	Signers    []string          `json:"signers"`
	Unchecked  []string          `json:"uncheckedSigners"`
	Complete   bool              `json:"complete"`
	Incomplete []string          `json:"incomplete,omitempty"` // why not
	Tool       string            `json:"tool"`
	Series     string            `json:"series,omitempty"`
	Sequence   int64             `json:"sequence"` // when the content was planned, UTC seconds
	Base       []bundle.Base     `json:"base,omitempty"`
	LeftOut    *bundle.Amount    `json:"leftOut,omitempty"` // blobs of the base
	Releases   []releaseOverview `json:"releases"`
	Streams    []streamOverview  `json:"imagestreams"`
	Samples    []sampleOverview  `json:"samples"`
	Images     []imageOverview   `json:"images"`
	Missing    []bundle.Missing  `json:"missing"`
	Platforms  []string          `json:"platforms,omitempty"` // that lists were narrowed to
	Sparse     []bundle.Sparse   `json:"sparse,omitempty"`
	Size       int64             `json:"size"` // of the archive, bytes
	Volumes    []volumeOverview  `json:"volumes"`
}

type releaseOverview struct {
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Image        string `json:"image"`
	Components   int    `json:"components"`
}

type streamOverview struct {
	Name    string `json:"name"`
	Samples bool   `json:"samples"`
	Tags    int    `json:"tags"`
	Missing int    `json:"missing"`
}

// sampleOverview is what the samples operator of a release creates.
type sampleOverview struct {
	Version      string           `json:"version"`
	Architecture string           `json:"architecture"`
	Streams      []streamOverview `json:"imagestreams"`
	LeftOut      []string         `json:"leftOut"` // streams that were not asked for
	Templates    int              `json:"templates"`
}

type imageOverview struct {
	bundle.Image
	Size int64 `json:"size"` // bytes of all that it consists of; what images share counts for each
}

type volumeOverview struct {
	bundle.Volume
	Present bool `json:"present"`
}

func inspect(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if !c.Args().Present() {
		return usagef("no directory is given")
	}
	b, err := openToLook(c)
	if err != nil {
		return err
	}
	o, err := overviewOf(b)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(c.App.Writer)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(o)
	}
	return o.print(c.App.Writer)
}

// openToLook opens with the keys that are given; without any it opens whatever
// is there.
func openToLook(c *cli.Context) (*bundle.Bundle, error) {
	trust, err := trustToLook(c)
	if err != nil {
		return nil, err
	}
	return bundle.Open(c.Args().Slice(), trust)
}

func trustToLook(c *cli.Context) (bundle.Trust, error) {
	trust, err := trustGiven(c)
	trust.Unverified = len(trust.Keys) == 0 && !trust.AllowUnsigned
	return trust, err
}

func overviewOf(b *bundle.Bundle) (*overview, error) {
	findings, err := b.Quick()
	if err != nil {
		return nil, err
	}
	inv := b.Inventory
	o := &overview{
		Content: string(inv.ContentID()), Verified: len(b.Signers) > 0, Complete: len(findings) == 0, Tool: inv.About.Tool,
		Signers: append([]string{}, b.Signers...), Unchecked: append([]string{}, b.Unchecked...),
		Releases: []releaseOverview{}, Streams: []streamOverview{}, Samples: []sampleOverview{}, Images: []imageOverview{},
		Missing: append([]bundle.Missing{}, inv.Content.Missing...), Size: inv.Storage.Size,
		Platforms: inv.Content.Platforms, Sparse: inv.Content.Sparse(),
	}
	o.Series, o.Sequence, o.Base = inv.About.Series, inv.About.Sequence, inv.About.Base
	if n := len(inv.Storage.LeftOut); n > 0 {
		o.LeftOut = &bundle.Amount{Count: n, Bytes: inv.LeftOut()}
	}
	for _, f := range findings {
		o.Incomplete = append(o.Incomplete, f.Error())
	}
	for _, r := range inv.Content.Releases {
		o.Releases = append(o.Releases, releaseOverview{r.Version, r.Architecture, r.Image, len(r.Components)})
	}
	o.addStreams(inv.Content)
	sizes := inv.Content.Sizes()
	for _, i := range inv.Content.Images {
		o.Images = append(o.Images, imageOverview{i, sizes[i.Reference]})
	}
	absent := b.Absent()
	for _, v := range inv.Storage.Volumes {
		o.Volumes = append(o.Volumes, volumeOverview{v, !slices.Contains(absent, v.Name)})
	}
	return o, nil
}

func (o *overview) addStreams(c bundle.Content) {
	missing := map[string]bool{}
	for _, m := range c.Missing {
		missing[m.Reference] = true
	}
	overview := func(s bundle.ImageStream) streamOverview {
		one := streamOverview{Name: s.Name, Samples: s.Samples, Tags: len(s.Tags)}
		for _, t := range s.Tags {
			if missing[t.Image] {
				one.Missing++
			}
		}
		return one
	}
	for _, s := range c.Streams {
		o.Streams = append(o.Streams, overview(s))
	}
	for _, set := range c.Samples {
		i := slices.IndexFunc(c.Releases, func(r bundle.Release) bool { return r.Image == set.Release })
		one := sampleOverview{Version: c.Releases[i].Version, Architecture: set.Architecture, Streams: []streamOverview{}, LeftOut: []string{}, Templates: len(set.Templates)}
		for _, s := range set.Streams {
			if s.LeftOut {
				one.LeftOut = append(one.LeftOut, s.Name)
				continue
			}
			s.Samples = true
			one.Streams = append(one.Streams, overview(s))
		}
		o.Samples = append(o.Samples, one)
	}
}

func (o *overview) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "content\t%s\n", o.Content)
	fmt.Fprintf(t, "trust\t%s\n", o.trust())
	state := "complete (contents not read)"
	if o.LeftOut != nil {
		state = "complete given its base (contents not read)"
	}
	if !o.Complete {
		state = "unfinished or damaged"
	}
	fmt.Fprintf(t, "state\t%s\n", state)
	for _, why := range o.Incomplete {
		fmt.Fprintf(t, "\t%s\n", printable(why))
	}
	fmt.Fprintf(t, "written by\t%s\n", printable(o.Tool))
	if o.Series != "" {
		fmt.Fprintf(t, "series\t%s\n", o.Series)
	}
	fmt.Fprintf(t, "sequence\t%d (%s)\n", o.Sequence, bundle.Date(o.Sequence))
	for _, b := range slices.Backward(o.Base) {
		fmt.Fprintf(t, "base\t%s\n", b)
	}
	if o.LeftOut != nil {
		fmt.Fprintf(t, "left out\t%s, %d bytes (%s)\n", count(o.LeftOut.Count, "blob"), o.LeftOut.Bytes, humanize.IBytes(uint64(o.LeftOut.Bytes)))
	}
	for _, r := range o.Releases {
		fmt.Fprintf(t, "release\t%s %s, %s, %s\n", r.Version, r.Architecture, count(r.Components, "component"), r.Image)
	}
	for _, s := range o.Streams {
		fmt.Fprintf(t, "imagestream\t%s\n", s.line())
	}
	for _, s := range o.Samples {
		fmt.Fprintf(t, "samples\t%s\n", s.line())
	}
	for _, i := range o.Images {
		fmt.Fprintf(t, "image\t%s  %s\n", imageLine(i.Image), humanize.IBytes(uint64(i.Size)))
	}
	if len(o.Platforms) > 0 {
		fmt.Fprintf(t, "narrowed to\t%s\n", strings.Join(o.Platforms, ", "))
	}
	for _, s := range o.Sparse {
		fmt.Fprintf(t, "sparse\t%s\n", s)
	}
	for _, m := range o.Missing {
		fmt.Fprintf(t, "missing\t%s\n", printable(m.String()))
	}
	fmt.Fprintf(t, "archive\t%d bytes (%s)\n", o.Size, humanize.IBytes(uint64(o.Size)))
	for _, v := range o.Volumes {
		fmt.Fprintf(t, "volume\t%s  %d bytes%s\n", v.Name, v.Size, map[bool]string{false: ", not given"}[v.Present])
	}
	return t.Flush()
}

// imageLine is a reference, and the digest if the reference does not say it.
func imageLine(i bundle.Image) string {
	line := i.Reference
	if !strings.HasSuffix(line, "@"+i.Digest.String()) {
		line += "  " + i.Digest.String()
	}
	if i.Index != "" {
		line += "  of " + i.Index.String()
	}
	return printable(line)
}

func (s streamOverview) line() string {
	line := fmt.Sprintf("%s, %s", s.Name, count(s.Tags, "tag"))
	if s.Missing > 0 {
		line += fmt.Sprintf(", %d missing", s.Missing)
	}
	return line
}

func (s sampleOverview) line() string {
	tags, missing := 0, 0
	for _, one := range s.Streams {
		tags, missing = tags+one.Tags, missing+one.Missing
	}
	line := fmt.Sprintf("%s %s, %s, %s", s.Version, s.Architecture, count(len(s.Streams), "imagestream"), count(tags, "tag"))
	if missing > 0 {
		line += fmt.Sprintf(", %d missing", missing)
	}
	if len(s.LeftOut) > 0 {
		line += fmt.Sprintf("; %s left out", count(len(s.LeftOut), "imagestream"))
	}
	return line
}

func (o *overview) trust() string {
	unchecked := strings.Join(o.Unchecked, ", ")
	switch {
	case o.Verified && unchecked != "":
		return "signed by " + strings.Join(o.Signers, ", ") + "; not checked: " + unchecked
	case o.Verified:
		return "signed by " + strings.Join(o.Signers, ", ")
	case unchecked != "":
		return "NOT VERIFIED: says it is signed by " + unchecked + " (--trusted-key NAME.pub checks that)"
	}
	return "NOT VERIFIED: nobody signed it"
}
