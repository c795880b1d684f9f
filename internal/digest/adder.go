package digest

import "godwit/internal/rdb"

// adder adds up the parts of one value, however they are read.
type adder struct {
	hasher
	rules
	kind  rdb.ValueKind
	name  string // of a module's type
	sum   uint64
	count uint64
	ttls  uint64
	gone  bool // a field has expired
}

func (a *adder) begin(k rdb.ValueKind) {
	a.kind, a.name, a.sum, a.count, a.ttls, a.gone = k, "", 0, 0, 0, false
}

// whole is a string, by its hash.
func (a *adder) whole(text uint64) { a.sum = text }

// element is the next one of a list.
func (a *adder) element(text uint64) {
	a.sum = a.next(a.sum, text)
	a.count++
}

// member is one of a set.
func (a *adder) member(text uint64) {
	a.sum += a.one(isMember, text)
	a.count++
}

// pair is a field of a hash and its value. expireAt is when the field does, rdb.None
// if never.
func (a *adder) pair(field, value uint64, expireAt int64) {
	if expireAt != rdb.None && a.fieldTTLs {
		if expireAt <= a.expired {
			a.gone = true
			return
		}
		a.ttls += a.two(isFieldTTL, field, uint64(expireAt))
	}
	a.sum += a.two(isPair, field, value)
	a.count++
}

// scored is a member of a sorted set.
func (a *adder) scored(member uint64, score float64) {
	a.sum += a.two(isScored, member, scoreBits(score))
	a.count++
}

// value is what the parts come to.
func (a *adder) value() Value {
	v := Value{Type: typeName(a.kind), TTLs: a.ttls}
	if a.kind == rdb.ModuleValue {
		v.Type = a.name
	}
	if a.gone && a.count == 0 {
		v.Type = None
	}
	v.Sum = a.two(isValue, a.sum, a.count<<8|uint64(a.kind))
	return v
}
