package command

// table finds what belongs to a command by its name, in any case. Every command of
// a stream is looked up, so this is a hash table for just that, some times faster
// than a map.
type table[T any] struct {
	slots []entry[T] // a power of two of them, at most half of them in use
}

type entry[T any] struct {
	name string // in capitals
	is   *T     // nil for a slot that is not in use
}

func newTable[T any](all map[string]T) table[T] {
	size := 1
	for size < 2*len(all)+1 {
		size *= 2
	}
	t := table[T]{slots: make([]entry[T], size)}
	for name, one := range all {
		i := t.slot(name[0], name[len(name)/2], name[len(name)-1], len(name))
		for t.slots[i].is != nil {
			i = (i + 1) & (size - 1)
		}
		t.slots[i] = entry[T]{name, &one}
	}
	return t
}

// slot is where the search for a name begins.
func (t table[T]) slot(first, middle, last byte, n int) int {
	const capital = ^byte('a' - 'A') // takes the case off a letter
	h := uint32(first&capital)<<16 | uint32(middle&capital)<<8 | uint32(last&capital)
	h = (h + uint32(n)<<24) * 0x9e3779b1 // Knuth's multiplicative hashing
	return int(h>>16) & (len(t.slots) - 1)
}

// find is nil for a name that is not in the table.
func (t table[T]) find(name []byte) *T {
	if len(name) == 0 {
		return nil
	}
	i := t.slot(name[0], name[len(name)/2], name[len(name)-1], len(name))
	for {
		e := &t.slots[i]
		if e.is == nil || is(name, e.name) {
			return e.is
		}
		i = (i + 1) & (len(t.slots) - 1)
	}
}
