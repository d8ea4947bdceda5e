package main

import (
	"slices"
	"testing"
)

// TestExportAsksForMedia: when a medium is full it is completed and the next one is
// asked for; what cannot be one is said, and asked for again. Together the media
// are the bundle.
func TestExportAsksForMedia(t *testing.T) {
	key := keyPair(t)
	host, asked, _ := sharing(t)
	media, taken := smallMedia(t), t.TempDir()
	airlift(t, exportFrom(host, key, taken, "--image", "quay.io/team/app0:v1")...).exits(t, 0)
	c := talk(t, t.TempDir(), slices.DeleteFunc(exportFrom(host, key, media[0], asked...), func(s string) bool { return s == "--quiet" })...)
	c.reply(taken + "\n")
	c.reply(media[1] + "\n")
	c.reply("\n") // the one that is full
	c.reply(media[2] + "\n")
	if code := c.end(); code != exitComplete {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown(
		media[0]+" is complete and full; volumes 4 to ", "put in the next medium and press Enter ["+media[0]+"]",
		taken+" holds another bundle", media[0]+" is complete and full",
		media[1]+" is complete and full; volumes 6 to ", "holds another part of this bundle", media[1]+" is complete and full",
		"3 media: 4 images, ")
	verified(t, key, media[:]...)

	// Whoever has no other ends it, with the line to go on with.
	alone := smallMedia(t)
	c = talk(t, t.TempDir(), exportFrom(host, key, alone[0], asked...)...)
	c.reply("q\n")
	if code := c.end(); code != exitNoSpace {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("go on with: airlift export", "--continue-on NEXT", "--from bundle.json --volume 4- --output NEXT")
}
