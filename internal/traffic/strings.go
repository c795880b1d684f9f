package traffic

func stringMakers() []maker {
	return []maker{
		{command: "set", weight: 12, make: makeSet},
		{command: "setnx", weight: 2, make: func(g *generator) { g.do("SETNX", g.key(kindString), g.value()) }},
		{command: "setex", weight: 2, make: func(g *generator) { g.do("SETEX", g.key(kindString), g.seconds(), g.value()) }},
		{command: "psetex", weight: 2, make: func(g *generator) { g.do("PSETEX", g.key(kindString), g.seconds()*1000+1, g.value()) }},
		{command: "getset", weight: 2, make: func(g *generator) { g.do("GETSET", g.key(kindString), g.value()) }},
		{command: "getdel", weight: 2, make: func(g *generator) { g.do("GETDEL", g.key(kindString)) }},
		{command: "getex", weight: 5, make: makeGetEx},
		{command: "append", weight: 3, make: func(g *generator) { g.do("APPEND", g.key(kindString), g.value()) }},
		{command: "setrange", weight: 3, make: func(g *generator) { g.do("SETRANGE", g.key(kindString), g.IntN(300), g.value()) }},
		{command: "mset", weight: 2, make: func(g *generator) { g.do(g.pairs("MSET")...) }},
		{command: "msetnx", weight: 2, make: func(g *generator) { g.do(g.pairs("MSETNX")...) }},
		{command: "msetex", weight: 4, make: makeMSetEx},
		{command: "delex", weight: 4, make: makeDelEx},
		{command: "delifeq", weight: 3, make: makeDelIfEq},
		{command: "set", weight: 3, make: func(g *generator) { g.do("SET", g.key(kindNumber), g.oneOf(g.integer(), "0", "17", "-5")) }},
		{command: "incr", weight: 2, make: func(g *generator) { g.do("INCR", g.key(kindNumber)) }},
		{command: "decr", weight: 2, make: func(g *generator) { g.do("DECR", g.key(kindNumber)) }},
		{command: "incrby", weight: 2, make: func(g *generator) { g.do("INCRBY", g.key(kindNumber), g.small()) }},
		{command: "decrby", weight: 2, make: func(g *generator) { g.do("DECRBY", g.key(kindNumber), g.small()) }},
		{command: "incrbyfloat", weight: 3, make: func(g *generator) { g.do("INCRBYFLOAT", g.key(kindFloat), g.decimal()) }},
	}
}

// known is a value that a key may well have, for conditions.
const known = "known"

func makeSet(g *generator) {
	key := g.key(kindString)
	args := []any{"SET", key, g.oneOf(g.value(), g.value(), known)}
	condition := g.oneOf("", "", "", "NX", "XX")
	switch {
	case g.since(8, 4) && g.chance(3):
		// No value has this digest, so the first never and the second always holds.
		const digest = "0123456789abcdef"
		condition = g.oneOf("IFEQ", "IFNE", "IFDEQ", "IFDNE")
		args = with(args, condition, map[string]string{"IFEQ": known, "IFNE": known, "IFDEQ": digest, "IFDNE": digest}[condition])
	case g.comparesOnSet() && g.chance(3):
		condition = "IFEQ"
		args = with(args, condition, known)
	case condition != "":
		args = with(args, condition)
	}
	if g.chance(4) && (g.since(7, 0) || g.since(6, 2) && condition != "NX") {
		args = with(args, "GET")
	}
	switch g.IntN(3) {
	case 0:
		args = with(args, g.expiry()...)
	case 1:
		args = g.maybe(args, "KEEPTTL")
	}
	g.do(args...)
}

func makeGetEx(g *generator) {
	args := []any{"GETEX", g.key(kindString)}
	switch g.IntN(4) {
	case 0:
		args = with(args, "PERSIST")
	case 1, 2:
		args = with(args, g.expiry()...)
	}
	g.do(args...)
}

// pairs are keys and values after a command.
func (g *generator) pairs(command string) []any {
	args := []any{command}
	for range 1 + g.IntN(4) {
		args = append(args, g.key(kindString), g.value())
	}
	return args
}

func makeMSetEx(g *generator) {
	pairs := g.pairs("")[1:]
	args := with([]any{"MSETEX", len(pairs) / 2}, pairs...)
	args = g.maybe(args, "NX", "XX")
	switch g.IntN(3) {
	case 0:
		args = with(args, g.expiry()...)
	case 1:
		args = with(args, "KEEPTTL")
	}
	g.do(args...)
}

func makeDelEx(g *generator) {
	key := g.key(kindString)
	switch g.IntN(3) {
	case 0:
		g.do("DELEX", key)
	case 1:
		g.do("SET", key, known)
		g.do("DELEX", key, g.oneOf("IFEQ", "IFNE"), known)
	default:
		g.do("DELEX", key, g.oneOf("IFDEQ", "IFDNE"), "0123456789abcdef")
	}
}

func makeDelIfEq(g *generator) {
	key := g.key(kindString)
	if g.chance(2) {
		g.do("SET", key, known)
	}
	g.do("DELIFEQ", key, known)
}
