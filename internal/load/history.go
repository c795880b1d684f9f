package load

// outcome of one attempt.
type outcome int

const (
	unknown outcome = iota
	acked
	refused
	never // not attempted at all
)

// outcomes is what became of attempts, numbered from 0.
type outcomes struct {
	attempts int64
	acked    bitset // by attempt
	refused  bitset
}

// next begins an attempt and gives its number; end ends it.
func (o *outcomes) next() int64 {
	o.attempts++
	return o.attempts - 1
}

// end says what became of the last attempt.
func (o *outcomes) end(is outcome) {
	switch is {
	case acked:
		o.acked.set(o.attempts - 1)
	case refused:
		o.refused.set(o.attempts - 1)
	case unknown, never:
	}
}

func (o *outcomes) of(n int64) outcome {
	switch {
	case n < 0 || n >= o.attempts:
		return never
	case o.acked.has(n):
		return acked
	case o.refused.has(n):
		return refused
	default:
		return unknown
	}
}

// count adds up the outcomes of every step-th attempt, from the first on.
func (o *outcomes) count(first, step int64) (acks, unknowns int64) {
	for n := first; n < o.attempts; n += step {
		switch o.of(n) {
		case acked:
			acks++
		case unknown:
			unknowns++
		case refused, never:
		}
	}
	return acks, unknowns
}

// history records the attempts of the four kinds. Attempt n is of kind n mod 4, and
// n / 4 is its sequence number within the kind: with the writer's id that is its
// identity.
type history struct {
	outcomes
	counter bounds // of the writer's own counter
}

func (h *history) last() (Kind, int64) {
	n := h.attempts - 1
	return Kind(n % int64(kinds)), n / int64(kinds)
}

// end ends an attempt, that the server confirmed with this reply if it is acked.
func (h *history) end(is outcome, reply int64) {
	h.outcomes.end(is)
	if kind, _ := h.last(); kind == IncrOwn {
		h.counter.end(is, reply)
	}
}

func (h *history) outcome(kind Kind, seq int64) outcome {
	if seq < 0 {
		return never
	}
	return h.of(seq*int64(kinds) + int64(kind))
}

// sequences is how many attempts there were of a kind.
func (h *history) sequences(kind Kind) int64 {
	return (h.attempts + int64(kinds-kind) - 1) / int64(kinds)
}

// count adds up the outcomes of one kind.
func (h *history) count(kind Kind) (acks, unknowns int64) {
	return h.outcomes.count(int64(kind), int64(kinds))
}

// bounds is what a counter must be between that only one writer raises: low is
// the last value confirmed, high adds the attempts unknown since.
// Looking at every reply finds what the final value may hide: a write lost
// before, made up for by an unknown one that was done.
type bounds struct {
	low, high     int64
	lost, doubled int64 // found out from replies
}

// end says what became of an attempt to raise it, and its value if that was confirmed.
func (b *bounds) end(is outcome, value int64) {
	switch is {
	case acked:
		b.lost += max(0, b.low+1-value)
		b.doubled += max(0, value-(b.high+1))
		b.low, b.high = value, value
	case unknown:
		b.high++
	case refused, never:
	}
}

// bitset grows as it is set.
type bitset []uint64

func (b *bitset) set(n int64) {
	for int64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitset) has(n int64) bool {
	return n/64 < int64(len(b)) && b[n/64]&(1<<(n%64)) != 0
}
