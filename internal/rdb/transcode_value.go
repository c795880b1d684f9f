package rdb

import "math"

// copyLength copies a count, or a number saved as one.
func (d *Decoder) copyLength(out *output) uint64 {
	n := d.r.Length()
	out.buf = appendLength(out.buf, n)
	return n
}

func (d *Decoder) copyLengths(out *output, n int) {
	for range n {
		d.copyLength(out)
	}
}

// copyStrings copies strings as they are encoded.
func (d *Decoder) copyStrings(out *output, n int) {
	for range n {
		out.buf = d.r.appendRaw(out.buf)
	}
}

func (d *Decoder) copyBytes(out *output, n uint64) {
	out.buf = appendText(out.buf, d.r.bytes(n))
}

// eachCopied copies a count and calls f as many times, or until something fails.
func (d *Decoder) eachCopied(out *output, f func()) {
	for n := d.copyLength(out); n > 0 && d.r.err == nil; n-- {
		f()
		d.r.Fail(out.spill())
	}
}

// quicklist writes the nodes of TypeListQuicklist2 as ziplists.
func (t *Transcoder) quicklist(out *output, d *Decoder) {
	d.eachCopied(out, func() {
		switch container := d.r.Length(); container {
		case QuicklistNodePacked:
			t.ziplist(out, d)
		case QuicklistNodePlain:
			element := d.string(0)
			if len(element) > math.MaxInt32 { // a ziplist cannot have 4 GiB
				d.r.Fail(&NoEqualError{What: FeatureLargeElement, To: t.to})
				return
			}
			t.zl.reset()
			t.zl.add(Text{Bytes: element})
			out.buf = appendString(out.buf, t.zl.finish())
		default:
			d.r.Failf("a quicklist's node of the kind %d", container)
		}
	})
}

// ziplist writes a listpack as a ziplist. Integers stay integers, and all other
// text, that of scores too, stays the same text.
func (t *Transcoder) ziplist(out *output, d *Decoder) {
	t.zl.reset()
	p := d.r.Listpack()
	for e, ok := p.Next(); ok; e, ok = p.Next() {
		if e.Large() {
			e = Text{Bytes: d.text(0, e)}
		}
		t.zl.add(e)
	}
	out.buf = appendString(out.buf, t.zl.finish())
}

// elements writes a packed value as single elements. Their number, which comes
// first, is known last; so this holds them all, of values that are either small
// or for a server of before Redis 4.0.
func (t *Transcoder) elements(out *output, newType, old Type, d *Decoder) {
	w := &t.list
	*w = elementWriter{scores: newType == TypeZset, buf: w.buf[:0]}
	d.h = w
	d.value(t.from, old)
	out.buf = append(appendLength(out.buf, w.count), w.buf...)
}

// elementWriter is a Handler that writes elements one after another.
type elementWriter struct {
	Ignore
	buf    []byte
	count  uint64
	scores bool
}

func (w *elementWriter) Element(e Element) error {
	w.buf = appendString(w.buf, e.Value)
	if w.scores {
		w.buf = appendTextScore(w.buf, e.Score)
	}
	w.count++
	return nil
}

// expiringHash writes a hash whose fields may have TTLs in the way of another
// family, or without them.
func (t *Transcoder) expiringHash(out *output, newType, old Type, d *Decoder) {
	w := &t.hash
	*w = hashWriter{t: t, as: newType, buf: w.buf[:0]}
	if newType == TypeHashMetadata {
		// The time that TTLs count from is the least of them by rights, but that
		// is known last. A server only adds it to them (rdb.c rdbLoadObject).
		out.buf = appendMillisecondTime(out.buf, 1)
	}
	r := &d.r
	least := uint64(1)
	switch {
	case old == TypeHashListpackEx, old == TypeHashListpackExPreGA:
		// As with elements, their number is known last.
		d.h = w
		d.expiringHash(t.from, old)
		out.buf = append(appendLength(out.buf, w.count), w.buf...)
		return
	case old == TypeHashMetadata:
		least = r.LeastTTL()
	case t.from.Family == Valkey: // TypeHash2
		d.eachCopied(out, func() {
			w.buf = r.appendRaw(r.appendRaw(w.buf[:0]))
			expireAt := r.AbsoluteTTL()
			out.buf = append(w.begin(out.buf, expireAt), w.buf...)
			out.buf = w.end(out.buf, expireAt)
		})
		return
	}
	d.eachCopied(out, func() {
		expireAt := r.RelativeTTL(least)
		out.buf = w.begin(out.buf, expireAt)
		d.copyStrings(out, 2)
		out.buf = w.end(out.buf, expireAt)
	})
}

// hashWriter writes what belongs to the fields of a hash and their values. As a
// Handler it writes all of them.
type hashWriter struct {
	Ignore
	t       *Transcoder
	as      Type
	dropped bool
	buf     []byte
	count   uint64
}

// Element writes a field, its value and when it expires.
func (w *hashWriter) Element(e Element) error {
	w.buf = appendString(appendString(w.begin(w.buf, e.ExpireAt), e.Field), e.Value)
	w.buf = w.end(w.buf, e.ExpireAt)
	w.count++
	return nil
}

// begin appends what comes before a field that expires at that time.
func (w *hashWriter) begin(dst []byte, expireAt int64) []byte {
	switch {
	case w.as == TypeHash2:
	case w.as == TypeHashMetadata:
		ttl, err := w.t.to.redisTTL(expireAt)
		w.t.d.r.Fail(err)
		return appendLength(dst, ttl)
	case expireAt != None && !w.dropped:
		w.dropped = true
		w.t.d.r.Fail(w.t.noEqual(FeatureHashFieldTTL, ""))
	}
	return dst
}

// end appends what comes after its value.
func (w *hashWriter) end(dst []byte, expireAt int64) []byte {
	if w.as == TypeHash2 {
		return appendMillisecondTime(dst, expireAt)
	}
	return dst
}
