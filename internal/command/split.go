package command

import (
	"slices"
	"strconv"

	"godwit/internal/slot"
)

// Split takes apart a command that is placed as Parts, and gives f one command for
// each slot of its keys, in the order of the slots. Within a slot the keys are in
// their order, so that of one that MSET names twice the last value remains; options
// are in each of them. The conditions of MSETNX and MSETEX are as well: they held for
// all keys at the source, else the command had not been propagated.
//
// What f gets is valid until it returns; it may call any method but this one. The
// error is a *PlaceError, before f is called at all, or f's.
func (p *Placer) Split(args [][]byte, f func(slot uint16, args [][]byte) error) error {
	c, err := p.find(args)
	if err != nil {
		return err
	}
	if c.apart != Parts {
		return c.malformed("it cannot be taken apart")
	}
	if p.positions, err = c.keys.append(p.positions[:0], c, args); err != nil {
		return err
	}
	p.order = p.order[:0]
	for _, i := range p.positions {
		p.order = append(p.order, uint64(slot.Of(args[i]))<<48|uint64(i))
	}
	slices.Sort(p.order)
	for begin, end := 0, 0; begin < len(p.order); begin = end {
		of := p.order[begin] >> 48
		for end = begin; end < len(p.order) && p.order[end]>>48 == of; end++ {
		}
		if err := f(uint16(of), p.take(c, args, p.order[begin:end])); err != nil {
			return err
		}
	}
	return nil
}

// Keep is a command with those of its keys that f names, at least one of which there is,
// and of what belongs to each. ok is false for one that Split cannot take apart. What it
// returns is valid until the next call of Split or Keep.
func (p *Placer) Keep(args [][]byte, f func(key []byte) bool) (kept [][]byte, ok bool) {
	c, err := p.find(args)
	if err != nil || c.apart != Parts {
		return nil, false
	}
	if p.positions, err = c.keys.append(p.positions[:0], c, args); err != nil {
		return nil, false
	}
	p.order = p.order[:0]
	for _, i := range p.positions {
		if f(args[i]) {
			p.order = append(p.order, uint64(i))
		}
	}
	return p.take(c, args, p.order), true
}

// take makes a command of some of the keys of another one, and of what follows
// each of them, with all else that was in it.
func (p *Placer) take(c *placement, args [][]byte, keys []uint64) [][]byte {
	const position = 1<<48 - 1
	p.part = append(p.part[:0], args[0])
	options := len(args)
	if c.keys.find == findCounted {
		p.digits = strconv.AppendInt(p.digits[:0], int64(len(keys)), 10)
		p.part = append(p.part, p.digits)
		options = msetexOptions(args)
	}
	for _, key := range keys {
		at := int(key & position)
		p.part = append(p.part, args[at:at+c.keys.step]...)
	}
	p.part = append(p.part, args[options:]...)
	return p.part
}
