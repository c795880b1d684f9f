package rdb

import "math"

// copyLength copies a count, or a number saved as one.
func (d *Decoder) copyLength(out *output) (uint64, error) {
	n, err := d.in.length()
	if err == nil {
		out.buf = appendLength(out.buf, n)
	}
	return n, err
}

func (d *Decoder) copyLengths(out *output, n int) error {
	for range n {
		if _, err := d.copyLength(out); err != nil {
			return err
		}
	}
	return nil
}

// copyStrings copies strings as they are encoded.
func (d *Decoder) copyStrings(out *output, n int) error {
	for range n {
		raw, _, err := d.in.rawString()
		if err != nil {
			return err
		}
		out.buf = append(out.buf, raw...)
	}
	return nil
}

func (d *Decoder) copyBytes(out *output, n uint64) error {
	b, err := d.in.take(n)
	out.buf = append(out.buf, b...)
	return err
}

// eachCopied copies a count and calls f as many times.
func (d *Decoder) eachCopied(out *output, f func() error) error {
	n, err := d.copyLength(out)
	if err != nil {
		return err
	}
	for range n {
		d.in.release()
		if err := f(); err != nil {
			return err
		}
		if err := out.spill(); err != nil {
			return err
		}
	}
	return nil
}

// quicklist writes the nodes of TypeListQuicklist2 as ziplists.
func (t *Transcoder) quicklist(out *output, d *Decoder) error {
	return d.eachCopied(out, func() error {
		container, err := d.in.length()
		if err != nil {
			return err
		}
		switch container {
		case QuicklistNodePacked:
			return t.ziplist(out, d)
		case QuicklistNodePlain:
			element, err := d.in.string()
			if err != nil {
				return err
			}
			if len(element) > math.MaxInt32 { // a ziplist cannot have 4 GiB
				return &NoEqualError{What: FeatureLargeElement, To: t.to}
			}
			t.zl.reset()
			t.zl.add(packed{text: element})
			out.buf = appendString(out.buf, t.zl.finish())
			return nil
		default:
			return d.in.errorf("a quicklist's node of the kind %d", container)
		}
	})
}

// ziplist writes a listpack as a ziplist. Integers stay integers, and all other
// text, that of scores too, stays the same text.
func (t *Transcoder) ziplist(out *output, d *Decoder) error {
	return d.blob(func(blob []byte) error {
		t.zl.reset()
		err := d.groups(blob, false, 1, func(e []packed) error {
			t.zl.add(e[0])
			return nil
		})
		if err != nil {
			return err
		}
		out.buf = appendString(out.buf, t.zl.finish())
		return nil
	})
}

// elements writes a packed value as single elements. Their number, which comes
// first, is known last; so this holds them all, of values that are either small
// or for a server of before Redis 4.0.
func (t *Transcoder) elements(out *output, newType, old Type, d *Decoder) error {
	w := &t.list
	*w = elementWriter{scores: newType == TypeZset, buf: w.buf[:0]}
	d.h = w
	if err := d.value(t.from, old); err != nil {
		return err
	}
	out.buf = append(appendLength(out.buf, w.count), w.buf...)
	return nil
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
func (t *Transcoder) expiringHash(out *output, newType, old Type, d *Decoder) error {
	w := hashWriter{t: t, out: out, as: newType}
	if newType == TypeHashMetadata {
		// The time that TTLs count from is the least of them by rights, but that
		// is known last. A server only adds it to them (rdb.c rdbLoadObject).
		out.buf = appendMillisecondTime(out.buf, 1)
	}
	least := uint64(1)
	switch old {
	case TypeHashListpackEx:
		if _, err := d.in.take(8); err != nil {
			return err
		}
		return w.listpack(d)
	case TypeHashListpackExPreGA:
		return w.listpack(d)
	case TypeHashMetadata:
		var err error
		if least, err = d.leastTTL(); err != nil {
			return err
		}
	}
	isValkey := t.from.Family == Valkey
	return d.eachCopied(out, func() (err error) {
		var pair hashPair
		if !isValkey {
			if pair.expireAt, err = d.relativeTTL(least); err != nil {
				return err
			}
		}
		if pair.field, _, err = d.in.rawString(); err != nil {
			return err
		}
		if pair.value, _, err = d.in.rawString(); err != nil {
			return err
		}
		if isValkey {
			if pair.expireAt, err = d.absoluteTTL(); err != nil {
				return err
			}
		}
		return w.add(pair)
	})
}

// hashPair is a field and its value, as saved strings.
type hashPair struct {
	field, value []byte
	expireAt     int64
}

// hashWriter writes the pairs of a hash.
type hashWriter struct {
	t       *Transcoder
	out     *output
	as      Type
	dropped bool
}

// listpack writes the pairs of a listpack with TTLs.
func (w *hashWriter) listpack(d *Decoder) error {
	return d.blob(func(blob []byte) error {
		count := uint64(0)
		err := d.groups(blob, false, 3, func([]packed) error {
			count++
			return nil
		})
		if err != nil {
			return err
		}
		w.out.buf = appendLength(w.out.buf, count)
		return d.groups(blob, false, 3, func(e []packed) error {
			ttl, err := packedTTL(e[2])
			if err != nil {
				return err
			}
			pair := appendPacked(w.t.pair[:0], e[0])
			value := len(pair)
			pair = appendPacked(pair, e[1])
			w.t.pair = pair
			if err := w.add(hashPair{field: pair[:value], value: pair[value:], expireAt: ttl}); err != nil {
				return handlerError{err}
			}
			return nil
		})
	})
}

func (w *hashWriter) add(p hashPair) error {
	switch {
	case w.as == TypeHash2:
		w.pair(p)
		w.out.buf = appendMillisecondTime(w.out.buf, p.expireAt)
		return nil
	case w.as == TypeHashMetadata:
		ttl, err := w.t.to.redisTTL(p.expireAt)
		if err != nil {
			return err
		}
		w.out.buf = appendLength(w.out.buf, ttl)
	case p.expireAt != None && !w.dropped:
		w.dropped = true
		if err := w.t.noEqual(FeatureHashFieldTTL, ""); err != nil {
			return err
		}
	}
	w.pair(p)
	return nil
}

func (w *hashWriter) pair(p hashPair) {
	w.out.buf = append(append(w.out.buf, p.field...), p.value...)
}
