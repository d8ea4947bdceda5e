package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// write writes a content as JSON without white space: nodes and blobs one by one,
// since there may be a million.
func (c *Content) write(w io.Writer) error {
	rest := *c
	rest.Nodes, rest.Blobs = []Node{}, []Blob{}
	data, err := marshal(rest)
	if err != nil {
		return err
	}
	before, after, found := bytes.Cut(data, []byte(`"nodes":[],"blobs":[]`)) // no text looks like that: its quotes are escaped
	if !found {
		return errors.New("write the content: there is no place for nodes and blobs")
	}
	to := bufio.NewWriter(w) // which keeps the first error
	to.Write(before)
	err = errors.Join(writeList(to, `"nodes":`, c.Nodes), writeList(to, `,"blobs":`, c.Blobs))
	to.Write(after)
	return errors.Join(err, to.Flush())
}

func writeList[T any](to *bufio.Writer, key string, list []T) error {
	to.WriteString(key + "[")
	for i, one := range list {
		data, err := marshal(one)
		if err != nil {
			return err
		}
		if i > 0 {
			to.WriteByte(',')
		}
		to.Write(data)
	}
	return to.WriteByte(']')
}

// indenter writes JSON, which comes without white space, as [json.Indent] does with an
// indent of one space. The first error is that of end.
type indenter struct {
	to      *bufio.Writer
	depth   int
	quoted  bool // inside of a text
	escaped bool // behind a backslash there
	opened  bool // behind a bracket
}

func (n *indenter) Write(p []byte) (int, error) {
	for _, c := range p {
		n.next(c)
	}
	return len(p), nil
}

func (n *indenter) text(s string) { _, _ = io.WriteString(n, s) }

// end ends the file.
func (n *indenter) end() error {
	n.to.WriteByte('\n')
	return n.to.Flush()
}

func (n *indenter) next(c byte) {
	if n.quoted {
		n.to.WriteByte(c)
		n.quoted = c != '"' || n.escaped
		n.escaped = c == '\\' && !n.escaped
		return
	}
	opens, closes := c == '{' || c == '[', c == '}' || c == ']'
	if closes {
		n.depth--
	}
	if closes != n.opened { // nothing is between brackets that hold nothing
		n.line()
	}
	n.to.WriteByte(c)
	n.opened, n.quoted = opens, c == '"'
	switch {
	case opens:
		n.depth++
	case c == ',':
		n.line()
	case c == ':':
		n.to.WriteByte(' ')
	}
}

func (n *indenter) line() {
	n.to.WriteByte('\n')
	for range n.depth {
		n.to.WriteByte(' ')
	}
}

// counter counts what is written.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
