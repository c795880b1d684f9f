package traffic

func sortedSetMakers() []maker {
	return []maker{
		{command: "zadd", weight: 8, make: makeZAdd},
		{command: "zincrby", weight: 3, make: func(g *generator) { g.do("ZINCRBY", g.key(kindZset), g.score(), g.member()) }},
		{command: "zrem", weight: 3, make: func(g *generator) {
			g.do(with([]any{"ZREM", g.key(kindZset)}, several(g, 1, 4, g.member)...)...)
		}},
		{command: "zremrangebyrank", weight: 2, make: func(g *generator) {
			g.do("ZREMRANGEBYRANK", g.key(kindZset), g.IntN(5), g.IntN(8))
		}},
		{command: "zremrangebyscore", weight: 2, make: func(g *generator) {
			g.do("ZREMRANGEBYSCORE", g.key(kindZset), g.oneOf("-inf", "(0", "100"), g.oneOf("(5", "200", "(120.5"))
		}},
		{command: "zremrangebylex", weight: 2, make: func(g *generator) {
			g.do("ZREMRANGEBYLEX", g.keyOf(kindLex), g.oneOf("[member:30", "(member:2"), g.oneOf("[member:31", "(member:25"))
		}},
		{command: "zadd", weight: 3, make: func(g *generator) {
			args := []any{"ZADD", g.keyOf(kindLex)}
			for range 1 + g.IntN(20) {
				args = append(args, 0, g.member())
			}
			g.do(args...)
		}},
		{command: "zpopmin", weight: 2, make: func(g *generator) { g.do(g.zpop("ZPOPMIN")...) }},
		{command: "zpopmax", weight: 2, make: func(g *generator) { g.do(g.zpop("ZPOPMAX")...) }},
		{command: "bzpopmin", weight: 2, make: func(g *generator) { g.do("BZPOPMIN", g.key(kindZset), g.filled(kindZset), soon) }},
		{command: "bzpopmax", weight: 2, make: func(g *generator) { g.do("BZPOPMAX", g.key(kindZset), g.filled(kindZset), soon) }},
		{command: "zmpop", weight: 3, make: func(g *generator) { g.do(g.mpop("ZMPOP", kindZset, "MIN", "MAX")...) }},
		{command: "bzmpop", weight: 2, make: func(g *generator) {
			g.do("BZMPOP", soon, 2, g.key(kindZset), g.filled(kindZset), g.oneOf("MIN", "MAX"), "COUNT", 1+g.IntN(3))
		}},
		{command: "zunionstore", weight: 3, make: func(g *generator) { g.do(g.zstore("ZUNIONSTORE")...) }},
		{command: "zinterstore", weight: 3, make: func(g *generator) { g.do(g.zstore("ZINTERSTORE")...) }},
		{command: "zdiffstore", weight: 2, make: func(g *generator) {
			g.do("ZDIFFSTORE", g.key(kindZset), 2, g.key(kindZset), g.key(g.oneOf(kindZset, kindSet)))
		}},
		{command: "zrangestore", weight: 4, make: makeZRangeStore},
	}
}

func makeZAdd(g *generator) {
	n := 1 + g.IntN(5)
	if g.chance(60) {
		n = 200 // beyond the small encoding
	}
	args := []any{"ZADD", g.key(kindZset)}
	condition := g.oneOf("", "", "NX", "XX", "GT", "LT")
	if (condition == "GT" || condition == "LT") && !g.since(6, 2) {
		condition = ""
	}
	if condition != "" {
		args = with(args, condition)
	}
	if (condition == "GT" || condition == "LT") && g.chance(3) {
		args = with(args, "XX")
	}
	args = g.maybe(args, "CH")
	if g.chance(5) {
		args, n = with(args, "INCR"), 1
	}
	for range n {
		member := g.member()
		if n > 5 {
			member = g.text(8)
		}
		args = append(args, g.score(), member)
	}
	g.do(args...)
}

func (g *generator) zpop(command string) []any {
	args := []any{command, g.key(kindZset)}
	if g.chance(2) {
		args = with(args, g.IntN(4))
	}
	return args
}

// zstore adds no more than two scores: the sum of three depends on the order
// in which a version takes its keys.
func (g *generator) zstore(command string) []any {
	args := []any{command, g.key(kindZset), 2, g.key(kindZset), g.key(g.oneOf(kindZset, kindZset, kindSet))}
	if g.chance(2) {
		args = with(args, "WEIGHTS", g.oneOf("2", "0.5", "-1"), g.oneOf("1", "0", "4"))
	}
	if g.chance(2) {
		args = with(args, "AGGREGATE", g.oneOf("SUM", "MIN", "MAX"))
	}
	return args
}

func makeZRangeStore(g *generator) {
	form := g.IntN(3)
	source := g.key(kindZset)
	if form == 2 {
		// By lex is not defined for members of different scores: what a skiplist
		// then finds depends on its levels, which are random.
		source = g.keyOf(kindLex)
	}
	args := []any{"ZRANGESTORE", g.key(kindZset), source}
	switch form {
	case 0:
		args = with(args, g.IntN(3), g.oneOf("-1", "5", "-2"))
		args = g.maybe(args, "REV")
	case 1:
		args = with(args, "-inf", g.oneOf("(100", "inf"), "BYSCORE", "LIMIT", g.IntN(2), 1+g.IntN(30))
	default:
		args = with(args, "-", g.oneOf("+", "[member:3"), "BYLEX")
	}
	g.do(args...)
}
