package traffic

// bitMakers make bitmaps and HyperLogLogs.
func bitMakers() []maker {
	return []maker{
		{command: "setbit", weight: 4, make: func(g *generator) { g.do("SETBIT", g.key(kindBits), g.IntN(4000), g.IntN(2)) }},
		{command: "bitop", weight: 3, make: makeBitOp},
		{command: "bitfield", weight: 3, make: makeBitField},
		{command: "pfadd", weight: 5, make: func(g *generator) {
			n := 8
			if g.chance(8) {
				n = 300 // beyond the sparse representation, after a few
			}
			g.do(with([]any{"PFADD", g.key(kindHLL)}, several(g, 0, n, func() string { return g.text(6) })...)...)
		}},
		{command: "pfmerge", weight: 2, make: func(g *generator) {
			g.do(with([]any{"PFMERGE"}, several(g, 1, 4, func() string { return g.key(kindHLL) })...)...)
		}},
		// It stores what it has counted in the value.
		{command: "pfcount", weight: 2, make: func(g *generator) { g.do("PFCOUNT", g.key(kindHLL)) }},
	}
}

func makeBitOp(g *generator) {
	operation := g.oneOf("AND", "OR", "XOR", "NOT")
	if g.may(BitOps) {
		operation = g.oneOf("AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE")
	}
	source := g.key(kindBits)
	if g.chance(2) {
		g.do("SETBIT", source, g.IntN(4000), 1) // of no sources there is no result, and nothing is replicated
	}
	args := []any{"BITOP", operation, g.key(kindBits), source}
	if operation != "NOT" {
		args = with(args, several(g, 1, 3, func() string { return g.key(kindBits) })...)
	}
	g.do(args...)
}

// makeBitField has no OVERFLOW FAIL: what failed has made the value longer all the
// same, and that is not replicated (bitops.c bitfieldGeneric, from 7.0 on).
func makeBitField(g *generator) {
	args := []any{"BITFIELD", g.key(kindBits)}
	for range 1 + g.IntN(3) {
		encoding := g.oneOf("u8", "i16", "u63", "i64", "u1", "i5")
		switch g.IntN(3) {
		case 0:
			args = append(args, "GET", encoding, g.IntN(1000))
		case 1:
			args = append(args, "SET", encoding, g.oneOf("#3", "100", "0"), g.small())
		default:
			args = append(args, "OVERFLOW", g.oneOf("WRAP", "SAT"), "INCRBY", encoding, g.IntN(1000), g.small())
		}
	}
	g.do(args...)
}
