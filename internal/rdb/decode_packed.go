package rdb

// elements reads those of a list or set.
func (d *Decoder) elements(p *Pack) {
	for t, ok := p.Next(); ok && d.r.err == nil; t, ok = p.Next() {
		d.element(d.text(0, t))
	}
}

// integers reads the members of a set.
func (d *Decoder) integers(s *Intset) {
	for n, ok := s.Next(); ok && d.r.err == nil; n, ok = s.Next() {
		d.element(d.digits(0, n))
	}
}

// pairs reads fields and values.
func (d *Decoder) pairs(p *Pack) {
	for t, ok := p.Next(); ok && d.r.err == nil; t, ok = p.Next() {
		field := d.hold(0, t, &p.in)
		if t, ok = p.Next(); !ok {
			p.Odd()
			return
		}
		d.deliver(Element{Field: field, Value: d.text(1, t), ExpireAt: None})
	}
}

// triples reads fields, values and TTLs.
func (d *Decoder) triples(p *Pack) {
	for t, ok := p.Next(); ok && d.r.err == nil; t, ok = p.Next() {
		field := d.hold(0, t, &p.in)
		if t, ok = p.Next(); !ok {
			p.Odd()
			return
		}
		value := d.hold(1, t, &p.in)
		d.deliver(Element{Field: field, Value: value, ExpireAt: p.FieldTTL()})
	}
}

// members reads those of a zset, and their scores.
func (d *Decoder) members(p *Pack) {
	for t, ok := p.Next(); ok && d.r.err == nil; t, ok = p.Next() {
		member := d.hold(0, t, &p.in)
		d.deliver(Element{Value: member, Score: p.Score(), ExpireAt: None})
	}
}

// quicklistNode reads a node of TypeListQuicklist2: a listpack, or one element
// too large for one.
func (d *Decoder) quicklistNode() {
	switch container := d.r.Length(); container {
	case QuicklistNodePlain:
		d.element(d.string(0))
	case QuicklistNodePacked:
		d.elements(d.r.Listpack())
	default:
		d.r.Failf("a quicklist's node of the kind %d", container)
	}
}
