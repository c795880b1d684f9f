package digest

// A HyperLogLog (hyperloglog.c) is a string: "HYLL", its encoding, three unused
// bytes, the cached count in 8 bytes, and 16384 registers of 6 bits, either all of
// them or as runs: 00nnnnnn n+1 zeros, 01nnnnnn nnnnnnnn likewise, 1vvvvvnn n+1
// times v+1.
const (
	hllMagic     = "HYLL"
	hllHeader    = 16
	hllRegisters = 1 << 14
	hllDense     = hllRegisters * 6 / 8 // bytes
	hllIsDense   = 0
	hllIsSparse  = 1
)

// likeHyperLogLog tells whether a string may be one.
func likeHyperLogLog(p []byte) bool {
	return len(p) >= hllHeader && len(p) <= hllHeader+hllDense && string(p[:4]) == hllMagic
}

// startsLikeHyperLogLog tells whether a string of which these are the first bytes
// may be one.
func startsLikeHyperLogLog(p []byte) bool {
	n := min(len(p), len(hllMagic))
	return string(p[:n]) == hllMagic[:n]
}

// hyperLogLog hashes the registers, or the whole string if it is another one after
// all.
func (d *digester) hyperLogLog(p []byte) uint64 {
	registers, ok := p[hllHeader:], false
	switch p[4] {
	case hllIsDense:
		ok = len(registers) == hllDense
	case hllIsSparse:
		registers, ok = d.dense(registers)
	}
	if !ok {
		return d.text(p)
	}
	return d.two(isHyperLogLog, d.bytes(registers), 0)
}

// dense writes the registers that runs stand for.
func (d *digester) dense(runs []byte) ([]byte, bool) {
	if d.hll == nil {
		d.hll = make([]byte, hllDense+1) // a register's upper bits may be in the next byte, that of the last one too
	}
	clear(d.hll)
	at := 0
	for i := 0; i < len(runs); i++ {
		switch run := runs[i]; {
		case run < 0x40:
			at += int(run) + 1
		case run < 0x80:
			if i++; i == len(runs) {
				return nil, false
			}
			at += int(run&0x3f)<<8 | int(runs[i]) + 1
		default:
			value, end := uint(run>>2&0x1f)+1, at+int(run&3)+1
			for ; at < min(end, hllRegisters); at++ {
				first, shift := at*6/8, uint(at*6%8)
				d.hll[first] |= byte(value << shift)
				d.hll[first+1] |= byte(value << shift >> 8)
			}
			at = end
		}
	}
	return d.hll[:hllDense], at == hllRegisters
}
