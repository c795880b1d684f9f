package census

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// HashTags tells which names of keys would let calls work that do not now. A key has
// one hash tag only, so all proposals hold at the same time.
type HashTags struct {
	// Breaks is the share of the calls with effect breaks that the proposals mend
	// without one shard having to hold all keys of a pattern; Splits is likewise.
	Breaks float64 `json:"breaks"`
	Splits float64 `json:"splits"`

	Proposals []Proposal `json:"proposals"`
	Unmended  []Unmended `json:"unmended"` // groups of keys that have nothing in common
}

// Proposal is a hash tag for some patterns of keys.
type Proposal struct {
	Keys    []Renaming `json:"keys"`
	Breaks  float64    `json:"breaks"` // share of the calls with effect breaks that it mends
	Splits  float64    `json:"splits"`
	Values  int        `json:"values"`   // different tags that were seen
	OneSlot bool       `json:"one_slot"` // the tag is always the same: one shard would have all these keys
	Example []string   `json:"example"`  // keys that were used together, by their new names

	breaks, splits float64 // calls
}

// Renaming is a pattern of keys and what it would be.
type Renaming struct {
	Pattern string `json:"pattern"`
	As      string `json:"as"` // the same if it need not change
}

// Unmended are keys that were used together and that no hash tag brings together.
type Unmended struct {
	Patterns []string `json:"patterns"`
	Breaks   float64  `json:"breaks"`
	Example  []string `json:"example"`

	breaks float64 // calls
}

// span is a run of a key's pieces: the hash tag that it could have.
type span struct{ from, to int }

// togetherKeys is a group of keys, in pieces.
type togetherKeys struct {
	group
	parts  []keyParts
	calls  float64 // that it stands for
	mended bool
}

// tagFinder finds hash tags for groups of keys.
type tagFinder struct {
	groups   []*togetherKeys
	chosen   map[string]span // by pattern
	constant map[string]bool // patterns whose chosen span is always the same text
}

// findTags finds hash tags. calls tells how many calls a row stands for.
func findTags(g *groups, calls func(*row) float64, breaks, splits float64) HashTags {
	f := tagFinder{chosen: make(map[string]span), constant: make(map[string]bool)}
	all := slices.Concat(g.breaking.kept, g.splitting.kept)
	words := lexicon{places: make(map[string]map[string]int), totals: make(map[string]int)}
	perRow := make(map[*row]int)
	for _, group := range all {
		perRow[group.row]++
		for _, key := range group.keys {
			words.learn(pieces(string(key)))
		}
	}
	for _, group := range all {
		t := &togetherKeys{group: group, calls: calls(group.row) / float64(perRow[group.row])}
		for _, key := range group.keys {
			t.parts = append(t.parts, words.parts(key))
		}
		f.groups = append(f.groups, t)
	}
	f.choose(false)
	f.choose(true)
	f.widen()
	return f.result(breaks, splits)
}

// candidate is a span for each of some patterns, with which a group would have one tag.
type candidate struct {
	spans map[string]span
	calls float64
	texts map[string]bool
	name  string
}

// choose takes candidates, those first that mend most, as far as they agree with what
// is chosen already.
func (f *tagFinder) choose(constant bool) {
	all := make(map[string]*candidate)
	for _, t := range f.groups {
		if t.mended || constant && t.row.effect == Splits {
			continue
		}
		for text, spans := range t.candidates(constant) {
			name := nameOf(spans)
			c := all[name]
			if c == nil {
				if len(all) >= groupsKept {
					continue
				}
				c = &candidate{spans: spans, texts: make(map[string]bool), name: name}
				all[name] = c
			}
			weight := t.calls
			if t.row.effect == Splits {
				weight /= 1e6 // a client can split them: what breaks comes first
			}
			c.calls += weight
			c.texts[text] = true
		}
	}
	order := slices.SortedFunc(maps.Values(all), func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(b.calls, a.calls), cmp.Compare(len(b.texts), len(a.texts)), strings.Compare(a.name, b.name))
	})
	for _, c := range order {
		if !f.agrees(c) {
			continue
		}
		for pattern, s := range c.spans {
			if _, known := f.chosen[pattern]; !known {
				f.chosen[pattern] = s
				f.constant[pattern] = constant
			}
		}
	}
	for _, t := range f.groups {
		t.mended = f.mends(t)
	}
}

func (f *tagFinder) agrees(c *candidate) bool {
	for pattern, s := range c.spans {
		if chosen, known := f.chosen[pattern]; known && chosen != s {
			return false
		}
	}
	return true
}

func nameOf(spans map[string]span) string {
	var b strings.Builder
	for _, pattern := range slices.Sorted(maps.Keys(spans)) {
		fmt.Fprintf(&b, "%s\x00%d\x00", pattern, spans[pattern])
	}
	return b.String()
}

// candidates are, by its text, the spans that would be a tag of all the keys. What has
// a tag keeps it.
func (t *togetherKeys) candidates(constant bool) map[string]map[string]span {
	texts := make(map[string]bool)
	for _, k := range t.parts {
		if k.tag != "" {
			texts = map[string]bool{k.tag: true}
			break
		}
		for _, p := range k.pieces {
			if !p.separator && p.variable != constant {
				texts[p.text] = true
			}
		}
	}
	all := make(map[string]map[string]span)
next:
	for text := range texts {
		spans := make(map[string]span)
		for _, k := range t.parts {
			s, found := k.find(text)
			if other, known := spans[k.pattern]; !found || known && other != s {
				continue next
			}
			spans[k.pattern] = s
		}
		all[text] = spans
	}
	return all
}

// find is where a key has a text that is its tag or could become it.
func (k keyParts) find(text string) (span, bool) {
	if k.tag != "" {
		return span{-1, -1}, k.tag == text
	}
	wanted := pieces(text)
	for i := range k.pieces {
		if strings.ContainsAny(k.pieces[i].text, "{}") {
			return span{}, false // a brace of its own would be taken for the tag's
		}
	}
	for i := 0; i+len(wanted) <= len(k.pieces); i++ {
		if k.text(span{i, i + len(wanted)}) == text {
			return span{i, i + len(wanted)}, true
		}
	}
	return span{}, false
}

// text is what a span of the key reads.
func (k keyParts) text(s span) string {
	if s.from < 0 {
		return k.tag
	}
	var b strings.Builder
	for _, p := range k.pieces[s.from:s.to] {
		b.WriteString(p.text)
	}
	return b.String()
}

// mends tells whether all keys of a group have the same tag, with what is chosen.
func (f *tagFinder) mends(t *togetherKeys) bool {
	tag := ""
	for i, k := range t.parts {
		s, known := f.chosen[k.pattern]
		if !known {
			return false
		}
		text := k.text(s)
		if i > 0 && text != tag {
			return false
		}
		tag = text
	}
	return true
}

// families are the patterns that are used together, each with the groups it mends.
func (f *tagFinder) families() map[string][]*togetherKeys {
	root := make(map[string]string)
	find := func(p string) string {
		for root[p] != "" {
			p = root[p]
		}
		return p
	}
	for _, t := range f.groups {
		if !t.mended {
			continue
		}
		first := find(t.parts[0].pattern)
		for _, k := range t.parts[1:] {
			if other := find(k.pattern); other != first {
				root[other] = first
			}
		}
	}
	families := make(map[string][]*togetherKeys)
	for _, t := range f.groups {
		if t.mended {
			at := find(t.parts[0].pattern)
			families[at] = append(families[at], t)
		}
	}
	return families
}

// widen makes the spans of patterns that are used together as wide as what the keys
// have in common: {user:1001} rather than user:{1001}, so that keys of other kinds with
// the same number need not be in the same slot.
func (f *tagFinder) widen() {
	for _, family := range f.families() {
		for f.widenBy(family, span{-2, 0}) {
		}
		for f.widenBy(family, span{0, 2}) {
		}
	}
}

// widenBy moves the ends of a family's spans by a separator and what is beyond it, if
// the texts stay the same within each group.
func (f *tagFinder) widenBy(family []*togetherKeys, by span) bool {
	wider := make(map[string]span)
	for _, t := range family {
		tag := ""
		for i, k := range t.parts {
			s := f.chosen[k.pattern]
			s.from, s.to = s.from+by.from, s.to+by.to
			if k.tag != "" || s.from < 0 || s.to > len(k.pieces) {
				return false
			}
			separator := s.from + 1
			if by.to > 0 {
				separator = s.to - 2
			}
			text := k.text(s)
			if !k.pieces[separator].separator || i > 0 && text != tag {
				return false
			}
			tag = text
			wider[k.pattern] = s
		}
	}
	maps.Copy(f.chosen, wider)
	return true
}

// renamed is a key, or with shown its pattern, with the tag that is chosen for it.
func (f *tagFinder) renamed(k keyParts, text func(piece) string) string {
	s := f.chosen[k.pattern]
	whole := s.from == 0 && s.to == len(k.pieces) // hashes like a tag of that text
	var b strings.Builder
	for i, p := range k.pieces {
		if i == s.from && !whole {
			b.WriteByte('{')
		}
		b.WriteString(text(p))
		if i == s.to-1 && !whole {
			b.WriteByte('}')
		}
	}
	return b.String()
}
