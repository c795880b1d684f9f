package traffic

import (
	"fmt"
	"strconv"
	"time"
)

func streamMakers() []maker {
	return []maker{
		{command: "xadd", weight: 12, make: makeXAdd},
		{command: "xtrim", weight: 4, make: func(g *generator) {
			policy := g.policy()
			args := with([]any{"XTRIM", g.key(kindStream)}, g.trimming(policy)...)
			g.do(with(args, policy...)...)
		}},
		{command: "xdel", weight: 3, make: func(g *generator) {
			key := g.key(kindStream)
			g.do(with([]any{"XDEL", key}, several(g, 1, 3, func() string { return g.entryID(key) })...)...)
		}},
		{command: "xdelex", weight: 3, make: func(g *generator) {
			key := g.key(kindStream)
			g.do(with(g.maybe([]any{"XDELEX", key}, "KEEPREF", "DELREF", "ACKED"), g.idList(key)...)...)
		}},
		{command: "xsetid", weight: 2, make: makeXSetID},
		{command: "xcfgset", weight: 2, feature: StreamIDMP, make: func(g *generator) {
			g.do("XCFGSET", g.key(kindStream), "IDMP-DURATION", 100+g.IntN(200), "IDMP-MAXSIZE", 10+g.IntN(90))
		}},
		{command: "xidmprecord", weight: 2, feature: StreamIDMP, make: func(g *generator) {
			key, id := g.key(kindStream), g.newID()
			g.do("XADD", key, id, "field", g.value())
			g.do("XIDMPRECORD", key, g.oneOf("producer:0", "producer:1"), g.text(8), id)
		}},
	}
}

// newID is higher than any before, in any stream.
func (g *generator) newID() string {
	g.nextID++
	return strconv.FormatInt(g.nextID, 10) + "-" + strconv.Itoa(g.IntN(3))
}

// entryID is one that was added to the key, and may still be in it.
func (g *generator) entryID(key string) string {
	ids := g.ids[key]
	if len(ids) == 0 {
		return "1-1"
	}
	return ids[g.IntN(len(ids))]
}

// idList is IDS with a count and IDs.
func (g *generator) idList(key string) []any {
	ids := several(g, 1, 3, func() string { return g.entryID(key) })
	return with([]any{"IDS", len(ids)}, ids...)
}

func makeXAdd(g *generator) {
	key := g.key(kindStream)
	args := []any{"XADD", key}
	if g.since(6, 2) && g.chance(8) {
		args = with(args, "NOMKSTREAM")
	}
	policy := g.policy()
	args = with(args, policy...)
	byServer := g.chance(3) // "*" for the ID
	if byServer && g.may(StreamIDMP) && g.chance(3) {
		producer := g.oneOf("producer:0", "producer:1")
		if g.chance(2) {
			args = with(args, "IDMPAUTO", producer)
		} else {
			args = with(args, "IDMP", producer, g.text(2))
		}
	}
	if g.chance(4) {
		args = with(args, g.trimming(policy)...)
	}
	if byServer {
		args = with(args, "*")
	} else {
		const remembered = 30
		id := g.newID()
		ids := append(g.ids[key], id)
		g.ids[key] = ids[max(0, len(ids)-remembered):]
		args = with(args, id)
	}
	if g.chance(5) { // other fields than those that a node's entries share
		g.do(with(args, g.field(), g.value(), "extra", g.integer())...)
		return
	}
	g.do(with(args, "sensor", g.IntN(100), "value", g.value())...)
}

// policy says what becomes of references to entries that are deleted; mostly nothing.
func (g *generator) policy() []any {
	if !g.has("xdelex") || !g.chance(3) {
		return nil
	}
	return []any{g.oneOf("KEEPREF", "DELREF", "ACKED")}
}

// trimming are the words of MAXLEN and MINID. With a policy they are exact: what
// XTRIM ~ ACKED deletes at a primary and at its replica is not the same in Redis
// 8.6.3.
func (g *generator) trimming(policy []any) []any {
	args := []any{"MAXLEN"}
	threshold := any(5 + g.IntN(120))
	if g.since(6, 2) && g.chance(3) {
		args, threshold = []any{"MINID"}, g.nextID-int64(20+g.IntN(200))
	}
	precision := g.oneOf("", "=", "~")
	if precision == "~" && len(policy) > 0 {
		precision = "="
	}
	if precision != "" {
		args = append(args, precision)
	}
	args = append(args, threshold)
	if precision == "~" && g.since(6, 2) && g.chance(2) {
		args = append(args, "LIMIT", g.oneOf("0", "100", "1000"))
	}
	return args
}

// makeXSetID has a number of entries added that only grows: below what a group
// has read it makes no sense, and not the same nonsense everywhere.
func makeXSetID(g *generator) {
	args := []any{"XSETID", g.key(kindStream), g.newID()}
	if g.since(7, 0) && g.chance(2) {
		args = with(args, "ENTRIESADDED", g.nextID, "MAXDELETEDID", "5-5")
	}
	g.do(args...)
}

// groupMakers make what consumer groups do.
func groupMakers() []maker {
	return []maker{
		{command: "xgroup", weight: 4, make: makeXGroupCreate},
		{command: "xgroup", weight: 1, make: func(g *generator) { g.do("XGROUP", "DESTROY", g.key(kindStream), g.group()) }},
		{command: "xgroup", weight: 1, make: func(g *generator) {
			args := []any{"XGROUP", "SETID", g.key(kindStream), g.group(), g.oneOf("0", "$", "0-1")}
			if g.since(7, 0) && g.chance(3) {
				args = with(args, g.entriesRead()...)
			}
			g.do(args...)
		}},
		{command: "xgroup", weight: 2, make: func(g *generator) {
			if g.since(6, 2) {
				g.do("XGROUP", "CREATECONSUMER", g.key(kindStream), g.group(), g.consumer())
			}
		}},
		{command: "xgroup", weight: 1, make: func(g *generator) {
			g.do("XGROUP", "DELCONSUMER", g.key(kindStream), g.group(), g.consumer())
		}},
		{command: "xreadgroup", weight: 8, make: makeXReadGroup},
		{command: "xack", weight: 4, make: func(g *generator) {
			key := g.key(kindStream)
			g.do(with([]any{"XACK", key, g.group()}, several(g, 1, 4, func() string { return g.entryID(key) })...)...)
		}},
		{command: "xackdel", weight: 3, make: func(g *generator) {
			key := g.key(kindStream)
			g.do(with(g.maybe([]any{"XACKDEL", key, g.group()}, "KEEPREF", "DELREF", "ACKED"), g.idList(key)...)...)
		}},
		{command: "xclaim", weight: 5, make: makeXClaim},
		{command: "xautoclaim", weight: 4, make: func(g *generator) {
			key, group := g.key(kindStream), g.group()
			args := []any{"XAUTOCLAIM", key, group, g.existing(key, group), 0, "0-0"}
			if g.chance(2) {
				args = with(args, "COUNT", 1+g.IntN(10))
			}
			g.do(g.maybe(args, "JUSTID")...)
		}},
	}
}

func (g *generator) group() string    { return g.oneOf("group:0", "group:0", "group:0", "group:1") }
func (g *generator) consumer() string { return fmt.Sprintf("consumer:%d", g.IntN(3)) }

// existing names a consumer after it has been made: one that a command makes by
// the way, and gives nothing, is not replicated (t_stream.c xreadgroupCommand).
func (g *generator) existing(key, group string) string {
	consumer := g.consumer()
	if g.since(6, 2) {
		g.do("XGROUP", "CREATECONSUMER", key, group, consumer)
	} else {
		g.do("XADD", key, g.newID(), "for", consumer)
		g.do("XREADGROUP", "GROUP", group, consumer, "COUNT", 1, "STREAMS", key, ">")
	}
	return consumer
}

// entriesRead is no more than were added: Redis 8.6 corrects a higher number,
// and others store it.
func (g *generator) entriesRead() []any { return []any{"ENTRIESREAD", g.oneOf("0", "-1")} }

// makeXGroupCreate makes a group; one of that name goes first, mostly.
func makeXGroupCreate(g *generator) {
	key, group := g.key(kindStream), g.group()
	if !g.chance(6) {
		g.do("XGROUP", "DESTROY", key, group)
	}
	args := []any{"XGROUP", "CREATE", key, group, g.oneOf("0", "$", g.entryID(key)), "MKSTREAM"}
	if g.since(7, 0) && g.chance(4) {
		args = with(args, g.entriesRead()...)
	}
	g.do(args...)
}

func makeXReadGroup(g *generator) {
	key, group := g.key(kindStream), g.group()
	args := []any{"XREADGROUP", "GROUP", group, g.existing(key, group)}
	if g.chance(2) {
		args = with(args, "COUNT", 1+g.IntN(10))
	}
	if g.chance(30) {
		args = with(args, "BLOCK", 1)
	}
	if g.since(8, 4) && g.chance(4) {
		args = with(args, "CLAIM", 0)
	}
	if g.chance(5) {
		args = with(args, "NOACK")
	}
	// Not "0": that an entry was delivered once more is not replicated.
	g.do(with(args, "STREAMS", key, ">")...)
}

func makeXClaim(g *generator) {
	key := g.key(kindStream)
	group := g.group()
	args := []any{"XCLAIM", key, group, g.existing(key, group), 0}
	args = with(args, several(g, 1, 4, func() string { return g.entryID(key) })...)
	delivered := g.options.Now.Add(-time.Duration(g.IntN(1_000_000)) * time.Millisecond)
	switch g.IntN(3) {
	case 0:
		args = with(args, "IDLE", g.IntN(100_000))
	case 1:
		args = with(args, "TIME", delivered.UnixMilli())
	}
	if g.chance(3) {
		args = with(args, "RETRYCOUNT", g.IntN(9))
	}
	args = g.maybe(args, "FORCE")
	args = g.maybe(args, "JUSTID")
	if g.chance(6) {
		args = with(args, "LASTID", g.entryID(key))
	}
	g.do(args...)
}
