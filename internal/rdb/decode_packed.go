package rdb

import (
	"math"
	"strconv"
)

// blob reads a string that holds a packed value. An error of what is inside
// counts from its beginning.
func (d *Decoder) blob(f func(blob []byte) error) error {
	start := d.in.offset()
	blob, err := d.in.string()
	if err != nil {
		return err
	}
	return d.within(start, f(blob))
}

// handlerError is an error that came from the handler, to be told from ours.
type handlerError struct{ err error }

func (e handlerError) Error() string { return e.err.Error() }

// deliver calls the handler from within a blob.
func (d *Decoder) deliver(e Element) error {
	if err := d.h.Element(e); err != nil {
		return handlerError{err}
	}
	return nil
}

func (d *Decoder) within(start int64, err error) error {
	switch err := err.(type) { //nolint:errorlint // never wrapped on its way here
	case nil:
		return nil
	case handlerError:
		return err.err
	case *SyntaxError:
		return err
	default:
		return &SyntaxError{Offset: start, Reason: err.Error()}
	}
}

// text gives a packed entry as text, valid until the slot is used again.
func (d *Decoder) text(e packed, slot int) []byte {
	if e.isInt {
		return strconv.AppendInt(d.digits[slot][:0], e.integer, 10)
	}
	return e.text
}

// groups calls f with every size entries of a listpack or ziplist.
func (d *Decoder) groups(blob []byte, ziplist bool, size int, f func(entries []packed) error) error {
	p, err := openPacks(blob, ziplist)
	if err != nil {
		return err
	}
	entries := &d.packed
	for n := 0; ; n++ {
		e, ok, err := p.next()
		if err != nil {
			return err
		}
		if !ok {
			if n != 0 {
				return errOdd
			}
			return nil
		}
		entries[n] = e
		if n+1 == size {
			if err := f(entries[:size]); err != nil {
				return err
			}
			n = -1
		}
	}
}

func (d *Decoder) packedElements(ziplist bool) error {
	return d.blob(func(blob []byte) error {
		return d.groups(blob, ziplist, 1, func(e []packed) error {
			return d.deliver(Element{Value: d.text(e[0], 0), ExpireAt: None})
		})
	})
}

// packedPairs reads fields and values, and where size is 3 TTLs.
func (d *Decoder) packedPairs(ziplist bool, size int) error {
	return d.blob(func(blob []byte) error {
		return d.groups(blob, ziplist, size, func(e []packed) error {
			pair := Element{Field: d.text(e[0], 0), Value: d.text(e[1], 1), ExpireAt: None}
			if size == 3 {
				ttl, err := packedTTL(e[2])
				if err != nil {
					return err
				}
				pair.ExpireAt = ttl
			}
			return d.deliver(pair)
		})
	})
}

// packedTTL reads when a field of TypeHashListpackEx expires.
func packedTTL(e packed) (int64, error) {
	switch {
	case !e.isInt || e.integer < 0 || e.integer > maxFieldTTL:
		return 0, errTTL
	case e.integer == 0:
		return None, nil
	default:
		return e.integer, nil
	}
}

func (d *Decoder) packedMembers(ziplist bool) error {
	return d.blob(func(blob []byte) error {
		return d.groups(blob, ziplist, 2, func(e []packed) error {
			score, err := packedScore(e[1])
			if err != nil {
				return err
			}
			return d.deliver(Element{Value: d.text(e[0], 0), Score: score, ExpireAt: None})
		})
	})
}

func packedScore(e packed) (float64, error) {
	if e.isInt {
		return float64(e.integer), nil
	}
	score, err := strconv.ParseFloat(string(e.text), 64)
	if err != nil || math.IsNaN(score) {
		return 0, errScore
	}
	return score, nil
}

// quicklistNode reads a node of TypeListQuicklist2: a listpack, or one element
// too large for one.
func (d *Decoder) quicklistNode() error {
	container, err := d.in.length()
	if err != nil {
		return err
	}
	switch container {
	case QuicklistNodePlain:
		return d.element()
	case QuicklistNodePacked:
		return d.packedElements(false)
	default:
		return d.in.errorf("a quicklist's node of the kind %d", container)
	}
}

func (d *Decoder) intset() error {
	return d.blob(func(blob []byte) error {
		return eachInteger(blob, func(n int64) error {
			return d.deliver(Element{Value: strconv.AppendInt(d.digits[0][:0], n, 10), ExpireAt: None})
		})
	})
}

func (d *Decoder) zipmap() error {
	return d.blob(func(blob []byte) error {
		return eachPair(blob, func(name, value []byte) error {
			return d.deliver(Element{Field: name, Value: value, ExpireAt: None})
		})
	})
}
