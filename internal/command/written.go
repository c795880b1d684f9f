package command

// AppendKeyPositions appends where a command has its keys among its arguments, for
// whoever renames keys. It is none for a command that has no keys; the channel of
// SPUBLISH is none, and neither are the patterns of SORT. The error is a *PlaceError.
func (p *Placer) AppendKeyPositions(dst []int, args [][]byte) ([]int, error) {
	c, err := p.find(args)
	if err != nil || c.keys.first == 0 {
		return dst, err
	}
	n := len(dst)
	if dst, err = c.keys.append(dst, c, args); err != nil {
		return dst[:n], err
	}
	return dst, nil
}

// AppendWritten appends the keys of the selected db that a command may write, which
// point into args: all that it writes, and perhaps others. It is none for one that
// has no keys, whatever it does to all keys of a db. What MOVE and COPY write in
// another db tells Beyond. The error is a *PlaceError.
func (p *Placer) AppendWritten(dst, args [][]byte) ([][]byte, error) {
	return p.appendKeys(dst, args, writes)
}

// AppendRead appends the keys of the selected db on whose values the effect of a
// command depends, which point into args: a key that is modified is among them, one
// whose value is replaced is not. It is complete but for a SORT that is placed
// ByValue because it makes names of keys, and for scripts that do. The error is a
// *PlaceError.
func (p *Placer) AppendRead(dst, args [][]byte) ([][]byte, error) {
	return p.appendKeys(dst, args, reads)
}

func (p *Placer) appendKeys(dst, args [][]byte, with access) ([][]byte, error) {
	c, err := p.find(args)
	if err != nil || c.keys.first == 0 {
		return dst, err
	}
	if p.positions, err = c.keys.append(p.positions[:0], c, args); err != nil {
		return dst, err
	}
	does, rest := c.access(args)
	positions := p.positions
	if c.elsewhere(args) {
		positions = positions[:1] // COPY's destination is in another db
	}
	for _, i := range positions {
		if does&with != 0 {
			dst = append(dst, args[i])
		}
		does = rest
	}
	return dst, nil
}

// elsewhere tells of a MOVE or COPY that it writes in another db.
func (c *placement) elsewhere(args [][]byte) bool {
	if c.name == "COPY" {
		_, named := copyDB(args)
		return named
	}
	return c.name == "MOVE"
}

// Overwrites tells whether a command gives each key that it writes a value and a TTL
// that have nothing to do with what was there: none of AppendWritten is in AppendRead.
// It is false for a command that has no keys, and for one that would be an error.
func (p *Placer) Overwrites(args [][]byte) bool {
	c, err := p.find(args)
	if err != nil || c.keys.first == 0 {
		return false
	}
	if p.positions, err = c.keys.append(p.positions[:0], c, args); err != nil {
		return false
	}
	if c.elsewhere(args) {
		return false
	}
	first, rest := c.access(args)
	if first == rest || len(p.positions) == 1 {
		return first == writes
	}
	for _, i := range p.positions[1:] { // SUNIONSTORE a b a
		if string(args[i]) == string(args[p.positions[0]]) {
			return false
		}
	}
	return first != changes && rest != changes
}
