package traffic

func setMakers() []maker {
	store := func(command string) func(*generator) {
		return func(g *generator) {
			g.do(with([]any{command}, several(g, 2, 4, func() string { return g.key(kindSet) })...)...)
		}
	}
	return []maker{
		{command: "sadd", weight: 7, make: makeSAdd},
		{command: "srem", weight: 3, make: func(g *generator) {
			g.do(with([]any{"SREM", g.key(kindSet)}, several(g, 1, 4, g.member)...)...)
		}},
		{command: "spop", weight: 3, make: func(g *generator) {
			args := []any{"SPOP", g.key(kindSet)}
			if g.chance(2) {
				args = with(args, g.oneOf("0", "1", "3", "50"))
			}
			g.do(args...)
		}},
		{command: "smove", weight: 3, make: func(g *generator) { g.do("SMOVE", g.key(kindSet), g.key(kindSet), g.member()) }},
		{command: "sinterstore", weight: 2, make: store("SINTERSTORE")},
		{command: "sunionstore", weight: 2, make: store("SUNIONSTORE")},
		{command: "sdiffstore", weight: 2, make: store("SDIFFSTORE")},
	}
}

// makeSAdd adds integers to some keys, for the encoding intset.
func makeSAdd(g *generator) {
	one := g.member
	if g.chance(3) {
		one = g.integer
	}
	n := 6
	if g.chance(30) {
		n = 600
		one = func() string { return g.text(5) }
	}
	g.do(with([]any{"SADD", g.key(kindSet)}, several(g, 1, n, one)...)...)
}
