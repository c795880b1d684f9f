package traffic

// soon is the timeout of a blocking command that finds nothing, in seconds. Redis
// 6.0 makes 0 milliseconds of 0.001, which is for ever.
const soon = "0.002"

func listMakers() []maker {
	push := func(command string) func(*generator) {
		return func(g *generator) {
			n := 6
			if g.chance(40) {
				n = 300
			}
			g.do(with([]any{command, g.key(kindList)}, several(g, 1, n, g.element)...)...)
		}
	}
	pop := func(command string) func(*generator) {
		return func(g *generator) {
			args := []any{command, g.key(kindList)}
			if g.since(6, 2) && g.chance(3) {
				args = with(args, g.IntN(4))
			}
			g.do(args...)
		}
	}
	return []maker{
		{command: "lpush", weight: 6, make: push("LPUSH")},
		{command: "rpush", weight: 6, make: push("RPUSH")},
		{command: "lpushx", weight: 2, make: push("LPUSHX")},
		{command: "rpushx", weight: 2, make: push("RPUSHX")},
		{command: "lpop", weight: 3, make: pop("LPOP")},
		{command: "rpop", weight: 3, make: pop("RPOP")},
		{command: "blpop", weight: 2, make: func(g *generator) { g.do("BLPOP", g.key(kindList), g.filled(kindList), soon) }},
		{command: "brpop", weight: 2, make: func(g *generator) { g.do("BRPOP", g.key(kindList), g.filled(kindList), soon) }},
		{command: "rpoplpush", weight: 2, make: func(g *generator) { g.do("RPOPLPUSH", g.key(kindList), g.key(kindList)) }},
		{command: "brpoplpush", weight: 2, make: func(g *generator) { g.do("BRPOPLPUSH", g.filled(kindList), g.key(kindList), soon) }},
		{command: "lmove", weight: 3, make: func(g *generator) { g.do(g.lmove("LMOVE", g.key(kindList))...) }},
		{command: "blmove", weight: 2, make: func(g *generator) { g.do(with(g.lmove("BLMOVE", g.filled(kindList)), soon)...) }},
		{command: "lmpop", weight: 3, make: func(g *generator) { g.do(g.mpop("LMPOP", kindList, "LEFT", "RIGHT")...) }},
		{command: "blmpop", weight: 2, make: func(g *generator) {
			g.do("BLMPOP", soon, 2, g.key(kindList), g.filled(kindList), g.oneOf("LEFT", "RIGHT"), "COUNT", 1+g.IntN(3))
		}},
		{command: "linsert", weight: 3, make: func(g *generator) {
			g.do("LINSERT", g.key(kindList), g.oneOf("BEFORE", "AFTER"), g.member(), g.value())
		}},
		{command: "lset", weight: 2, make: func(g *generator) { g.do("LSET", g.key(kindList), g.oneOf("0", "-1", "2"), g.value()) }},
		{command: "lrem", weight: 2, make: func(g *generator) { g.do("LREM", g.key(kindList), g.IntN(5)-2, g.member()) }},
		{command: "ltrim", weight: 2, make: func(g *generator) { g.do("LTRIM", g.key(kindList), g.IntN(3), g.oneOf("-1", "20", "-2")) }},
		{command: "sort", weight: 4, make: makeSort},
	}
}

// filled names a key that has been given an element, mostly: a blocking command
// that finds none waits for the server's next cron, which can be 100 ms.
func (g *generator) filled(kind string) string {
	key := g.keyOf(kind)
	switch {
	case g.chance(50):
	case kind == kindList:
		g.do("RPUSH", key, g.member())
	default:
		g.do("ZADD", key, g.score(), g.member())
	}
	return key
}

// element is a member, so that it is met again, or any value.
func (g *generator) element() string {
	if g.chance(3) {
		return g.value()
	}
	return g.member()
}

func (g *generator) lmove(command, from string) []any {
	return []any{command, from, g.key(kindList), g.oneOf("LEFT", "RIGHT"), g.oneOf("LEFT", "RIGHT")}
}

// mpop are the words of LMPOP and ZMPOP.
func (g *generator) mpop(command, kind string, ends ...string) []any {
	keys := several(g, 1, 3, func() string { return g.key(kind) })
	args := with(with([]any{command, len(keys)}, keys...), g.oneOf(ends...))
	if g.chance(2) {
		args = with(args, "COUNT", 1+g.IntN(3))
	}
	return args
}

// makeSort has weights for lists only: elements of equal weight stay in the order
// in which a server finds them, and that of a set or sorted set is by chance.
func makeSort(g *generator) {
	args := []any{"SORT"}
	switch g.IntN(4) {
	case 0:
		args = with(args, g.keyOf(kindList), "BY", g.options.Prefix+"string:*")
	case 1:
		args = with(args, g.keyOf(g.oneOf(kindList, kindZset)), "BY", "nosort")
	default:
		args = with(args, g.keyOf(g.oneOf(kindList, kindSet, kindZset)))
	}
	if g.chance(3) {
		args = with(args, "LIMIT", g.IntN(3), 1+g.IntN(20))
	}
	if g.chance(4) {
		args = with(args, "GET", "#", "GET", g.options.Prefix+"string:*")
	}
	args = g.maybe(args, "ASC", "DESC")
	g.do(with(args, "ALPHA", "STORE", g.key(kindList))...)
}
