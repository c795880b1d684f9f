package traffic

import (
	"fmt"
	"slices"
	"time"

	"godwit/internal/server"
)

func hashMakers() []maker {
	expire := func(command string, when func(g *generator) any) maker {
		return maker{command: command, weight: 3, feature: HashFieldTTL, make: func(g *generator) {
			args := []any{"H" + command[1:], g.key(kindHash), when(g)}
			g.do(with(g.maybe(args, "NX", "XX", "GT", "LT"), g.fieldList()...)...)
		}}
	}
	return []maker{
		{command: "hset", weight: 8, make: func(g *generator) { g.do(with([]any{"HSET", g.key(kindHash)}, g.fieldsAndValues()...)...) }},
		{command: "hmset", weight: 2, make: func(g *generator) { g.do(with([]any{"HMSET", g.key(kindHash)}, g.fieldsAndValues()...)...) }},
		{command: "hsetnx", weight: 2, make: func(g *generator) { g.do("HSETNX", g.key(kindHash), g.field(), g.value()) }},
		{command: "hdel", weight: 3, make: func(g *generator) {
			g.do(with([]any{"HDEL", g.key(kindHash)}, several(g, 1, 4, g.field)...)...)
		}},
		{command: "hincrby", weight: 3, make: func(g *generator) { g.do("HINCRBY", g.key(kindHash), fmt.Sprintf("int:%d", g.IntN(3)), g.small()) }},
		{command: "hincrbyfloat", weight: 3, make: func(g *generator) {
			g.do("HINCRBYFLOAT", g.key(kindHash), fmt.Sprintf("float:%d", g.IntN(3)), g.decimal())
		}},
		{command: "hsetex", weight: 5, make: makeHSetEx},
		{command: "hgetex", weight: 4, make: makeHGetEx},
		{command: "hgetdel", weight: 3, make: func(g *generator) { g.do(with([]any{"HGETDEL", g.key(kindHash)}, g.fieldList()...)...) }},
		expire("hexpire", func(g *generator) any { return g.rarely(0, g.seconds()) }),
		expire("hpexpire", func(g *generator) any { return g.rarely(1, g.seconds()*1000+7) }),
		expire("hexpireat", func(g *generator) any { return g.rarely(1, g.options.Now.Unix()+g.seconds()) }),
		expire("hpexpireat", func(g *generator) any {
			return g.rarely(1, g.options.Now.Add(time.Duration(g.seconds())*time.Second).UnixMilli())
		}),
		{command: "hpersist", weight: 2, feature: HashFieldTTL, make: func(g *generator) {
			g.do(with([]any{"HPERSIST", g.key(kindHash)}, g.fieldList()...)...)
		}},
	}
}

// rarely is the first of two once in a while.
func (g *generator) rarely(rare, usual int64) int64 {
	if g.chance(15) {
		return rare
	}
	return usual
}

func (g *generator) field() string {
	switch n := g.IntN(24); n {
	case 0:
		return ""
	case 1:
		return "\xfe\x00 \r\n"
	default:
		return fmt.Sprintf("field:%d", n)
	}
}

// fields are n different ones: a field that is named twice in HSETEX with a TTL
// ends Redis 8.6.3 by an assertion (t_hash.c, expireMeta.trash).
func (g *generator) fields(n int) []any {
	var fields []any
	for range n {
		if f := any(g.field()); !slices.Contains(fields, f) {
			fields = append(fields, f)
		}
	}
	return fields
}

// fieldList is FIELDS with a count and names.
func (g *generator) fieldList() []any {
	fields := g.fields(1 + g.IntN(4))
	return with([]any{"FIELDS", len(fields)}, fields...)
}

func (g *generator) fieldsAndValues() []any {
	var args []any
	if g.chance(60) {
		for i := range 600 { // beyond the small encoding
			args = append(args, fmt.Sprintf("many:%d", i), g.integer())
		}
		return args
	}
	for _, field := range g.fields(1 + g.IntN(5)) {
		args = append(args, field, g.value())
	}
	return args
}

func makeHSetEx(g *generator) {
	args := []any{"HSETEX", g.key(kindHash)}
	if g.version.Product == server.Valkey && g.chance(4) && g.version.AtLeast(9, 1) {
		args = with(args, g.oneOf("NX", "XX"))
	}
	args = g.maybe(args, "FNX", "FXX")
	switch {
	case !g.may(HashFieldTTL):
	case g.chance(3):
		args = with(args, "KEEPTTL")
	case g.chance(2):
		args = with(args, g.expiry()...)
	}
	pairs := g.fieldsAndValues()
	g.do(with(with(args, "FIELDS", len(pairs)/2), pairs...)...)
}

func makeHGetEx(g *generator) {
	args := []any{"HGETEX", g.key(kindHash)}
	switch {
	case g.chance(4):
		args = with(args, "PERSIST")
	case g.chance(4) || !g.may(HashFieldTTL):
	default:
		args = with(args, g.expiry()...)
	}
	g.do(with(args, g.fieldList()...)...)
}
