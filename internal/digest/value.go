package digest

import (
	"godwit/internal/rdb"
)

// digester reads values in place and adds up their parts.
type digester struct {
	adder
	long  longText
	start []byte // of a string that comes in pieces and begins like a HyperLogLog
	hll   []byte // the registers of a HyperLogLog
	names map[rdb.ModuleID]string
}

func newDigester(o Options) digester {
	return digester{adder: adder{hasher: newHasher(o.Seed), rules: newRules(o)}}
}

// hash hashes a text that was just read.
func (d *digester) hash(t rdb.Text) uint64 {
	switch {
	case t.IsInt:
		return d.integer(t.Integer)
	case t.Large():
		return d.hashLong(t)
	default:
		return d.text(t.Bytes)
	}
}

func (d *digester) hashLong(t rdb.Text) uint64 {
	d.long.begin(&d.hasher)
	for p := t.Bytes; len(p) > 0; p = t.Next() {
		d.long.add(p)
	}
	return d.long.sum()
}

// read reads a value of a type that the format has. The reader has the error, if
// there is one.
func (d *digester) read(r *rdb.Reader, f rdb.Format, t rdb.Type) {
	d.begin(t.Kind())
	switch t {
	case rdb.TypeString:
		d.string(r.String())
	case rdb.TypeList:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.element(d.hash(r.String()))
		}
	case rdb.TypeListQuicklist:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.elements(r.Ziplist())
		}
	case rdb.TypeListQuicklist2:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.quicklistNode(r)
		}
	case rdb.TypeListZiplist:
		d.elements(r.Ziplist())
	case rdb.TypeSet:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.member(d.hash(r.String()))
		}
	case rdb.TypeSetListpack:
		d.members(r.Listpack())
	case rdb.TypeSetIntset:
		d.integers(r.Intset())
	case rdb.TypeZset:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.scored(d.hash(r.String()), r.TextScore())
		}
	case rdb.TypeZset2:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			d.scored(d.hash(r.String()), r.Score())
		}
	case rdb.TypeZsetZiplist:
		d.allScored(r.Ziplist())
	case rdb.TypeZsetListpack:
		d.allScored(r.Listpack())
	case rdb.TypeStreamListpacks, rdb.TypeStreamListpacks2, rdb.TypeStreamListpacks3, rdb.TypeStreamListpacks4:
		d.stream(r, t)
	case rdb.TypeModule2:
		d.module(r)
	default:
		d.hashOf(r, f, t)
	}
}

// hashOf reads a hash.
func (d *digester) hashOf(r *rdb.Reader, f rdb.Format, t rdb.Type) {
	switch t {
	case rdb.TypeHash:
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			field := d.hash(r.String())
			d.pair(field, d.hash(r.String()), rdb.None)
		}
	case rdb.TypeHashZipmap:
		d.pairs(r.Zipmap(), false)
	case rdb.TypeHashZiplist:
		d.pairs(r.Ziplist(), false)
	case rdb.TypeHashListpack:
		d.pairs(r.Listpack(), false)
	case rdb.TypeHashListpackEx:
		r.Uint64() // the least TTL, for the server's own use
		d.pairs(r.Listpack(), true)
	case rdb.TypeHashListpackExPreGA:
		d.pairs(r.Listpack(), true)
	case rdb.TypeHashMetadata:
		d.pairsWithTTL(r, r.LeastTTL())
	case rdb.TypeHash2: // also TypeHashMetadataPreGA
		if f.Family != rdb.Valkey {
			d.pairsWithTTL(r, 1)
			return
		}
		for n := r.Length(); n > 0 && r.Err() == nil; n-- {
			field := d.hash(r.String())
			value := d.hash(r.String())
			d.pair(field, value, r.AbsoluteTTL())
		}
	default:
		r.Failf("no digest of the type %s", t)
	}
}

func (d *digester) pairsWithTTL(r *rdb.Reader, least uint64) {
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		expireAt := r.RelativeTTL(least)
		field := d.hash(r.String())
		d.pair(field, d.hash(r.String()), expireAt)
	}
}

// string digests what is the value of a string.
func (d *digester) string(t rdb.Text) {
	switch {
	case t.Large():
		d.beginString()
		for p := t.Bytes; len(p) > 0; p = t.Next() {
			d.stringPart(p)
		}
		d.endString()
	case !t.IsInt && likeHyperLogLog(t.Bytes):
		d.whole(d.hyperLogLog(t.Bytes))
	default:
		d.whole(d.hash(t))
	}
}

// beginString begins with a string that comes in pieces.
func (d *digester) beginString() {
	d.long.begin(&d.hasher)
	d.start = d.start[:0]
}

func (d *digester) stringPart(p []byte) {
	// One that begins like a HyperLogLog is kept as long as it is not too long for one.
	if d.long.size == uint64(len(d.start)) && startsLikeHyperLogLog(d.start) {
		d.start = append(d.start, p[:min(len(p), hllHeader+hllDense+1-len(d.start))]...)
	}
	d.long.add(p)
}

func (d *digester) endString() {
	if d.long.size == uint64(len(d.start)) && likeHyperLogLog(d.start) {
		d.whole(d.hyperLogLog(d.start))
		return
	}
	d.whole(d.long.sum())
}

// quicklistNode reads a node of TypeListQuicklist2.
func (d *digester) quicklistNode(r *rdb.Reader) {
	switch container := r.Length(); container {
	case rdb.QuicklistNodePlain:
		d.element(d.hash(r.String()))
	case rdb.QuicklistNodePacked:
		d.elements(r.Listpack())
	default:
		r.Failf("a quicklist's node of the kind %d", container)
	}
}

func (d *digester) elements(p *rdb.Pack) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		d.element(d.hash(t))
	}
}

func (d *digester) members(p *rdb.Pack) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		d.member(d.hash(t))
	}
}

func (d *digester) integers(s *rdb.Intset) {
	for n, ok := s.Next(); ok; n, ok = s.Next() {
		d.member(d.integer(n))
	}
}

// pairs reads fields and values, and TTLs if there are some.
func (d *digester) pairs(p *rdb.Pack, withTTL bool) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		field := d.hash(t)
		if t, ok = p.Next(); !ok {
			p.Odd()
			return
		}
		value, expireAt := d.hash(t), int64(rdb.None)
		if withTTL {
			expireAt = p.FieldTTL()
		}
		d.pair(field, value, expireAt)
	}
}

func (d *digester) allScored(p *rdb.Pack) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		d.scored(d.hash(t), p.Score())
	}
}
