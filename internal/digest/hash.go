package digest

import (
	"encoding/binary"
	"math"
	"math/bits"

	"godwit/internal/rdb"
)

// hasher hashes with secrets that follow from a seed. It multiplies 64 by 64 bits
// and folds the 128 bits of the product, as wyhash does: two multiplications for
// the short texts that most values are made of. Without the seed nobody can tell
// which texts collide.
type hasher struct {
	a, b, c, d uint64
}

func newHasher(seed uint64) hasher {
	// Odd numbers without a pattern, from the digits of square roots.
	const (
		root2 = 0x6a09e667f3bcc909
		root3 = 0xbb67ae8584caa73b
		root5 = 0x3c6ef372fe94f82b
		root7 = 0xa54ff53a5f1d36f1
	)
	seed = fold(seed^root2, root3)
	return hasher{a: seed*root2 + root5, b: seed*root3 + root7, c: seed*root5 + root2, d: seed*root7 + root3}
}

// fold multiplies and adds the upper half of the product to the lower one.
func fold(x, y uint64) uint64 {
	high, low := bits.Mul64(x, y)
	return high ^ low
}

// purpose is what a number stands for: the same one must not count for another.
type purpose uint64

const (
	isInteger purpose = iota + 1
	isMember
	isPair
	isScored
	isFieldTTL
	isEntry
	isGroup
	isConsumer
	isPending
	isDelivered
	isHyperLogLog
	isVector
	isMetadata
	isValue
	isKey
)

// two combines two numbers, the order of which counts.
func (h *hasher) two(p purpose, x, y uint64) uint64 {
	return fold(fold(x^h.a, y^h.c)^uint64(p), h.d)
}

// one makes another number of what is a hash already.
func (h *hasher) one(p purpose, x uint64) uint64 { return fold(x^h.a, h.c^uint64(p)) }

// next combines what came before with what follows.
func (h *hasher) next(sofar, x uint64) uint64 { return fold(sofar^h.b, x^h.d) }

func (h *hasher) integer(n int64) uint64 { return h.one(isInteger, fold(uint64(n)^h.d, h.b)) }

// text hashes a string. One that is what an integer is printed as is hashed as
// that integer: which of the two a server saves depends on the encoding.
func (h *hasher) text(p []byte) uint64 {
	if n := len(p); n > 0 {
		// Both at once, as each by itself is hard to foresee: it begins with a digit or
		// '-', '.' or '/', and ends with a digit.
		first, last := uint32(p[0]-'-'), uint32(p[n-1]-'0')
		if int32((first-13)&(last-10)) < 0 {
			if n, ok := rdb.ParseInteger(p); ok {
				return h.integer(n)
			}
		}
	}
	return h.bytes(p)
}

const (
	lane  = 16       // bytes that one multiplication takes
	block = 4 * lane // texts that are longer are taken in four lanes at the same time
)

func word(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

func half(p []byte) uint64 { return uint64(binary.LittleEndian.Uint32(p)) }

// bytes hashes any bytes, and is the same as what longText does with pieces.
func (h *hasher) bytes(p []byte) uint64 {
	n := len(p)
	if n > lane {
		if n <= 2*lane { // tail, without a loop
			s := fold(word(p)^h.a, word(p[8:])^h.b)
			return fold(h.c^uint64(n), fold(word(p[n-16:])^h.d, word(p[n-8:])^s))
		}
		return h.many(p)
	}
	var x, y uint64
	switch {
	case n >= 4: // the first and the last 4 bytes, of 8 and more those beside them too
		beside := n >> 3 << 2
		x = half(p)<<32 | half(p[beside:])
		y = half(p[n-4:])<<32 | half(p[n-4-beside:])
	case n > 0:
		x = uint64(p[0]) | uint64(p[n>>1])<<8 | uint64(p[n-1])<<16
	}
	return fold(h.c^uint64(n), fold(x^h.d, y^h.b))
}

func (h *hasher) many(p []byte) uint64 {
	if len(p) <= block {
		return h.tail(h.b, p, 0, uint64(len(p)))
	}
	l := h.lanes()
	at := 0
	for ; len(p)-at > block; at += block {
		l.add(h, p[at:at+block])
	}
	return h.tail(l.join(h), p, at, uint64(len(p)))
}

// tail hashes what comes at and after place at in p, at most a block, of a text of
// n bytes. p has the last lane of the text in any case.
func (h *hasher) tail(s uint64, p []byte, at int, n uint64) uint64 {
	for ; len(p)-at > lane; at += lane {
		q := p[at : at+lane]
		s = fold(word(q)^h.a, word(q[8:])^s)
	}
	q := p[len(p)-lane:]
	return fold(h.c^n, fold(word(q)^h.d, word(q[8:])^s))
}

// lanes are the four parts of a long text, which are hashed at the same time.
type lanes [4]uint64

func (h *hasher) lanes() lanes { return lanes{h.a, h.b, h.c, h.d} }

func (l *lanes) add(h *hasher, p []byte) {
	p = p[:block]
	l[0] = fold(word(p)^h.b, word(p[8:])^l[0])
	l[1] = fold(word(p[16:])^h.c, word(p[24:])^l[1])
	l[2] = fold(word(p[32:])^h.d, word(p[40:])^l[2])
	l[3] = fold(word(p[48:])^h.a, word(p[56:])^l[3])
}

func (l *lanes) join(h *hasher) uint64 {
	return fold(l[0]^h.c, l[1]^h.d) ^ fold(l[2]^h.a, l[3]^h.b)
}

// longText hashes a text that comes in pieces.
type longText struct {
	h     *hasher
	lanes lanes
	size  uint64
	own   [lane + block]byte // the last bytes of the blocks taken, and those to be taken
	held  int                // how many are to be taken
}

func (t *longText) begin(h *hasher) {
	t.h, t.lanes, t.size, t.held = h, h.lanes(), 0, 0
}

func (t *longText) add(p []byte) {
	t.size += uint64(len(p))
	// A block is taken only when something follows it.
	if t.held+len(p) > block {
		n := block - t.held
		copy(t.own[lane+t.held:], p[:n])
		p = p[n:]
		t.take(t.own[lane:])
		for ; len(p) > block; p = p[block:] {
			t.take(p[:block])
		}
		t.held = 0
	}
	copy(t.own[lane+t.held:], p)
	t.held += len(p)
}

func (t *longText) take(p []byte) {
	t.lanes.add(t.h, p)
	copy(t.own[:lane], p[block-lane:])
}

func (t *longText) sum() uint64 {
	if t.size <= block {
		return t.h.text(t.own[lane : lane+t.held])
	}
	return t.h.tail(t.lanes.join(t.h), t.own[:lane+t.held], lane, t.size)
}

// scoreBits is what counts of a score: minus zero is zero, as a listpack has it so
// from Redis 7.0 on and a skiplist has not.
func scoreBits(score float64) uint64 {
	if score == 0 {
		return 0
	}
	return math.Float64bits(score)
}
