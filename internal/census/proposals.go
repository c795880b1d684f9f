package census

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Limits of what is proposed and told.
const (
	proposalsShown = 8
	renamingsShown = 12
	unmendedShown  = 5
)

// result is what was found, in order of what it mends.
func (f *tagFinder) result(breaks, splits float64) HashTags {
	h := HashTags{Proposals: []Proposal{}, Unmended: []Unmended{}}
	for _, family := range f.families() {
		p := f.proposal(family)
		p.Breaks, p.Splits = ratio(p.breaks, breaks), ratio(p.splits, splits)
		if !p.OneSlot {
			h.Breaks += p.Breaks
			h.Splits += p.Splits
		}
		h.Proposals = append(h.Proposals, p)
	}
	slices.SortFunc(h.Proposals, func(a, b Proposal) int {
		return cmp.Or(compareBool(a.OneSlot, b.OneSlot), cmp.Compare(b.Breaks, a.Breaks), cmp.Compare(b.Splits, a.Splits),
			strings.Compare(a.Keys[0].Pattern, b.Keys[0].Pattern))
	})
	h.Proposals = h.Proposals[:min(len(h.Proposals), proposalsShown)]
	h.Unmended = f.unmended(breaks)
	return h
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func ratio(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(part/whole, 1)
}

// proposal is that for the patterns of one family.
func (f *tagFinder) proposal(family []*togetherKeys) Proposal {
	p := Proposal{OneSlot: true}
	renamings := make(map[string]Renaming)
	values := make(map[string]bool)
	for _, t := range family {
		if t.row.effect == Splits {
			p.splits += t.calls
		} else {
			p.breaks += t.calls
		}
		values[t.parts[0].text(f.chosen[t.parts[0].pattern])] = true
		for _, k := range t.parts {
			if _, known := renamings[k.pattern]; !known {
				renamings[k.pattern] = Renaming{Pattern: Show([]byte(k.pattern)), As: Show([]byte(f.renamed(k, piece.shown)))}
			}
			p.OneSlot = p.OneSlot && f.constant[k.pattern]
		}
	}
	p.Values = len(values)
	for _, pattern := range slices.Sorted(maps.Keys(renamings)) {
		p.Keys = append(p.Keys, renamings[pattern])
	}
	p.Keys = p.Keys[:min(len(p.Keys), renamingsShown)]
	for i, k := range family[0].parts {
		if i == keysShown {
			p.Example = append(p.Example, "…")
			break
		}
		p.Example = append(p.Example, Show([]byte(f.renamed(k, func(p piece) string { return p.text }))))
	}
	return p
}

// unmended are the groups that nothing helps, by their patterns.
func (f *tagFinder) unmended(breaks float64) []Unmended {
	all := make(map[string]*Unmended)
	for _, t := range f.groups {
		if t.mended || t.row.effect == Splits {
			continue
		}
		var patterns []string
		for _, k := range t.parts {
			if text := Show([]byte(k.pattern)); !slices.Contains(patterns, text) {
				patterns = append(patterns, text)
			}
		}
		slices.Sort(patterns)
		name := strings.Join(patterns, " ")
		u := all[name]
		if u == nil {
			u = &Unmended{Patterns: patterns[:min(len(patterns), renamingsShown)], Example: shown(t.keys)}
			all[name] = u
		}
		u.breaks += t.calls
	}
	list := []Unmended{}
	for _, u := range all {
		u.Breaks = ratio(u.breaks, breaks)
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b Unmended) int {
		return cmp.Or(cmp.Compare(b.breaks, a.breaks), slices.Compare(a.Patterns, b.Patterns))
	})
	return list[:min(len(list), unmendedShown)]
}
