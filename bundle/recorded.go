package bundle

import "fmt"

// Placement is the one that the options were made of: what an import recorded
// is read back, so that nobody has to say it twice.
func (o ObjectOptions) Placement() (Placement, error) {
	p := Placement{KeepSourceHost: o.KeepSourceHost, MaxNestedPaths: o.MaxNestedPaths}
	var err error
	if p.To, err = ParseLocation(o.To); err != nil {
		return p, fmt.Errorf("read options: to: %w", err)
	}
	if p.Cluster, err = ParseClusterLocation(o.Cluster); err != nil {
		return p, fmt.Errorf("read options: clusterRegistry: %w", err)
	}
	for _, m := range o.Mirrors {
		mirror, err := ParseClusterLocation(m)
		if err != nil {
			return p, fmt.Errorf("read options: mirrors: %w", err)
		}
		p.Mirrors = append(p.Mirrors, mirror)
	}
	for _, m := range o.Maps {
		mapping, err := ParseMapping(m.Source+"="+m.Dest, p.To)
		if err != nil {
			return p, fmt.Errorf("read options: maps: %w", err)
		}
		p.Maps = append(p.Maps, mapping)
	}
	return p, nil
}
