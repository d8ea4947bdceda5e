package bundle

import (
	"bytes"
	"embed"
	"maps"
	"text/template"

	"github.com/dustin/go-humanize"
)

//go:embed readme.tmpl
var readmeFiles embed.FS

var readmeTemplate = template.Must(template.New("readme.tmpl").Funcs(template.FuncMap{"size": func(n int64) string {
	return humanize.IBytes(uint64(n))
}}).ParseFS(readmeFiles, "readme.tmpl"))

// readmeHead is how every README.txt of airlift begins.
const readmeHead = "This is an airlift bundle: "

// readme is README.txt: what this is, and how to check it with stock tools, for
// whoever finds the medium in a drawer. It follows from the inventory and names
// no key.
func readme(inv *Inventory) []byte {
	var b bytes.Buffer
	err := readmeTemplate.Execute(&b, map[string]any{
		"ID": inv.ContentID(), "Releases": inv.Content.Releases, "Images": len(inv.Content.Images),
		"Streams": inv.Content.carriedStreams(), "Missing": len(inv.Content.Missing), "Sparse": len(inv.Content.Sparse()),
		"Volumes": inv.Storage.Volumes, "Size": inv.Storage.Size, "Many": len(inv.Storage.Volumes) > 1,
		"LeftOut": len(inv.Storage.LeftOut), "LeftOutSize": inv.LeftOut(), "Base": inv.About.Base,
	})
	if err != nil { // only for a template that does not fit its data
		panic(err)
	}
	return b.Bytes()
}

// carriedStreams counts the names of streams whose images are carried.
func (c *Content) carriedStreams() int {
	names := map[string]bool{}
	for _, s := range c.allStreams() {
		names[s.Name] = names[s.Name] || !s.LeftOut
	}
	maps.DeleteFunc(names, func(_ string, carried bool) bool { return !carried })
	return len(names)
}
