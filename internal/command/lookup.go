package command

// table finds a rule by a command's name, in any case. Every command of a stream
// is looked up, so this is a hash table for just that, some times faster than a map.
type table struct {
	slots []*rule // a power of two of them, at most half of them in use
}

func newTable(rules map[string]rule) table {
	size := 1
	for size < 2*len(rules)+1 {
		size *= 2
	}
	t := table{slots: make([]*rule, size)}
	for name, rule := range rules {
		rule.name = name
		i := t.slot(name[0], name[len(name)/2], name[len(name)-1], len(name))
		for t.slots[i] != nil {
			i = (i + 1) & (size - 1)
		}
		t.slots[i] = &rule
	}
	return t
}

// slot is where the search for a name begins.
func (t table) slot(first, middle, last byte, n int) int {
	const capital = ^byte('a' - 'A') // takes the case off a letter
	h := uint32(first&capital)<<16 | uint32(middle&capital)<<8 | uint32(last&capital)
	h = (h + uint32(n)<<24) * 0x9e3779b1 // Knuth's multiplicative hashing
	return int(h>>16) & (len(t.slots) - 1)
}

// find is nil for a command that has no rule.
func (t table) find(name []byte) *rule {
	if len(name) == 0 {
		return nil
	}
	i := t.slot(name[0], name[len(name)/2], name[len(name)-1], len(name))
	for {
		r := t.slots[i]
		if r == nil || is(name, r.name) {
			return r
		}
		i = (i + 1) & (len(t.slots) - 1)
	}
}
