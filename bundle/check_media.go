package bundle

import "slices"

// Checks are the checks of a bundle's media that come one after the other, in any
// order. The zero value has seen none.
type Checks struct {
	first *Bundle
	seen  map[int]bool // volumes
	found []Finding
}

// Medium lets check, which is Check or Quick of b, look at one more medium, or
// several. What it finds is kept; an error is of a medium that was of no use.
func (c *Checks) Medium(b *Bundle, check func() ([]Finding, error)) error {
	if c.first != nil {
		if err := c.first.same(b); err != nil {
			return err
		}
	}
	found, err := check()
	if err != nil {
		return err
	}
	if c.first == nil {
		c.first, c.seen = b, map[int]bool{}
	}
	for _, v := range b.volumes {
		c.seen[v.index] = true
	}
	c.found = append(c.found, slices.DeleteFunc(found, Finding.isElsewhere)...)
	return nil
}

// Findings are those of all media, and the volumes that were on none.
func (c *Checks) Findings() []Finding {
	found := slices.Clone(c.found)
	for _, name := range c.Absent() {
		found = append(found, notGiven(name))
	}
	return found
}

// Absent are the names of the volumes that were on no medium so far.
func (c *Checks) Absent() []string {
	var names []string
	for i, v := range c.first.Inventory.Storage.Volumes {
		if !c.seen[i] {
			names = append(names, v.Name)
		}
	}
	return names
}
