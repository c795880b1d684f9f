package load

// history records the outcome of each of a writer's attempts. Attempt n is of
// kind n mod 4, and n / 4 is its sequence number within the kind: with the
// writer's id that is its identity.
type history struct {
	attempts int64
	acked    bitset // by attempt
	refused  bitset
	counter  bounds // of the writer's own counter
}

// next begins an attempt. One of acknowledge, refuse or lose ends it.
func (h *history) next() (Kind, int64) {
	h.attempts++
	return h.last()
}

func (h *history) last() (Kind, int64) {
	n := h.attempts - 1
	return Kind(n % int64(kinds)), n / int64(kinds)
}

// acknowledge ends an attempt that the server confirmed with this reply.
func (h *history) acknowledge(reply int64) {
	h.acked.set(h.attempts - 1)
	if kind, _ := h.last(); kind == IncrOwn {
		h.counter.confirm(reply)
	}
}

// refuse ends an attempt that the server did not do.
func (h *history) refuse() { h.refused.set(h.attempts - 1) }

// lose ends an attempt of which nothing is known.
func (h *history) lose() {
	if kind, _ := h.last(); kind == IncrOwn {
		h.counter.high++
	}
}

// outcome of one attempt.
type outcome int

const (
	unknown outcome = iota
	acked
	refused
	never // not attempted at all
)

func (h *history) outcome(kind Kind, seq int64) outcome {
	n := seq*int64(kinds) + int64(kind)
	switch {
	case seq < 0 || n >= h.attempts:
		return never
	case h.acked.has(n):
		return acked
	case h.refused.has(n):
		return refused
	default:
		return unknown
	}
}

// sequences is how many attempts there were of a kind.
func (h *history) sequences(kind Kind) int64 {
	return (h.attempts + int64(kinds-kind) - 1) / int64(kinds)
}

// count adds up the outcomes of one kind.
func (h *history) count(kind Kind) (acks, unknowns int64) {
	for seq := range h.sequences(kind) {
		switch h.outcome(kind, seq) {
		case acked:
			acks++
		case unknown:
			unknowns++
		}
	}
	return acks, unknowns
}

// bounds is what a counter must be between that only one writer raises: low is
// the last value confirmed, high adds the attempts unknown since.
// Looking at every reply finds what the final value may hide: a write lost
// before, made up for by an unknown one that was done.
type bounds struct {
	low, high     int64
	lost, doubled int64 // found out from replies
}

func (b *bounds) confirm(value int64) {
	b.lost += max(0, b.low+1-value)
	b.doubled += max(0, value-(b.high+1))
	b.low, b.high = value, value
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
