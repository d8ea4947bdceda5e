package manifest

import "slices"

// mergedLists puts lists of mirrors of one source into one, in which each list
// keeps its order if all of them can; otherwise the order is fixed, but means
// nothing. The source stands among them only where a list has it before others
// (runtime-utils, mergedMirrors).
func mergedLists(lists [][]string, source string) []string {
	g := precedence{}
	for _, list := range lists {
		if !slices.Contains(list, source) {
			list = append(slices.Clone(list), source)
		}
		for i := range len(list) - 1 {
			g.edge(list[i], list[i+1])
		}
	}
	all := g.sorted()
	if all[len(all)-1] == source {
		all = all[:len(all)-1]
	}
	return all
}

// precedence holds names, and for each those that come right before and right
// after it.
type precedence map[string]*struct{ before, after map[string]bool }

func (g precedence) edge(from, to string) {
	for _, name := range []string{from, to} {
		if g[name] == nil {
			g[name] = &struct{ before, after map[string]bool }{map[string]bool{}, map[string]bool{}}
		}
	}
	g[from].after[to] = true
	g[to].before[from] = true
}

// sorted gives all names, those first that have none before them; where all that
// are left have, the alphabet decides. It uses the graph up.
func (g precedence) sorted() []string {
	names := sortedKeys(g)
	var all, ready []string
	done := map[string]bool{}
	for _, name := range names {
		if len(g[name].before) == 0 {
			ready = append(ready, name)
		}
	}
	for len(ready) > 0 || len(names) > 0 {
		var name string
		if len(ready) > 0 {
			name, ready = ready[0], ready[1:]
		} else {
			name, names = names[0], names[1:]
		}
		if done[name] {
			continue
		}
		done[name] = true
		all = append(all, name)
		for _, next := range sortedKeys(g[name].after) {
			delete(g[next].before, name)
			if len(g[next].before) == 0 && !done[next] {
				ready = append(ready, next)
			}
		}
	}
	return all
}
