package traffic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

func expiryMakers() []maker {
	expire := func(command string, when func(g *generator) int64) maker {
		return maker{command: command, weight: 3, make: func(g *generator) {
			key, _ := g.anyKey()
			args := []any{command, key, when(g)}
			if g.since(7, 0) && g.chance(3) {
				args = with(args, g.oneOf("NX", "XX", "GT", "LT"))
			}
			g.do(args...)
		}}
	}
	return []maker{
		expire("expire", func(g *generator) int64 { return g.rarely(-1, g.seconds()) }),
		expire("pexpire", func(g *generator) int64 { return g.rarely(1, g.seconds()*1000+1) }),
		expire("expireat", func(g *generator) int64 { return g.rarely(1, g.options.Now.Unix()+g.seconds()) }),
		expire("pexpireat", func(g *generator) int64 {
			return g.rarely(0, g.options.Now.Add(time.Duration(g.seconds())*time.Second).UnixMilli())
		}),
		{command: "persist", weight: 3, make: func(g *generator) { key, _ := g.anyKey(); g.do("PERSIST", key) }},
	}
}

// keyMakers make what is done to whole keys.
func keyMakers() []maker {
	two := func(command string) func(*generator) {
		return func(g *generator) {
			key, kind := g.anyKey()
			g.do(command, key, g.keyOf(kind))
		}
	}
	several := func(command string) func(*generator) {
		return func(g *generator) {
			g.do(with([]any{command}, several(g, 1, 3, func() string { key, _ := g.anyKey(); return key })...)...)
		}
	}
	return []maker{
		{command: "del", weight: 3, make: several("DEL")},
		{command: "unlink", weight: 3, make: several("UNLINK")},
		{command: "rename", weight: 3, make: two("RENAME")},
		{command: "renamenx", weight: 2, make: two("RENAMENX")},
		{command: "copy", weight: 4, make: func(g *generator) {
			key, kind := g.anyKey()
			args := []any{"COPY", key, g.keyOf(kind)}
			if g.chance(2) {
				args = with(args, "DB", g.options.DBs[g.IntN(len(g.options.DBs))])
			}
			g.do(g.maybe(args, "REPLACE")...)
		}},
		{command: "move", weight: 3, make: func(g *generator) {
			key, _ := g.anyKey()
			if len(g.options.DBs) > 1 {
				g.do("MOVE", key, g.options.DBs[(g.db+1)%len(g.options.DBs)])
			}
		}},
		{command: "restore", weight: 5, make: makeRestore("RESTORE")},
		{command: "restore-asking", weight: 1, make: makeRestore("RESTORE-ASKING")},
	}
}

func makeRestore(command string) func(*generator) {
	return func(g *generator) {
		kinds := g.kinds()
		kind := kinds[g.IntN(len(kinds))]
		payloads := g.samples[kind]
		if len(payloads) == 0 {
			kind = kindString
			payloads = g.samples[kind]
		}
		key, payload := g.keyOf(kind), payloads[g.IntN(len(payloads))]
		switch g.IntN(3) {
		case 0:
			g.do("DEL", key)
			g.do(command, key, 0, payload)
		case 1:
			g.do(command, key, g.seconds()*1000+3, payload, "REPLACE")
		default:
			at := g.options.Now.Add(time.Duration(g.seconds()) * time.Second).UnixMilli()
			g.do(command, key, g.rarely(1, at), payload, "ABSTTL", "REPLACE", "IDLETIME", 10)
		}
	}
}

// dbMakers make what is done to whole dbs.
func dbMakers() []maker {
	return []maker{
		{command: "swapdb", weight: 1, make: func(g *generator) {
			dbs := g.options.DBs
			if n := len(dbs) - 1; n > 1 && !g.options.NoSwap { // not the last one, so that FLUSHDB finds it
				i := g.IntN(n)
				g.do("SWAPDB", dbs[i], dbs[(i+1)%n])
			}
		}},
		{command: "flushdb", weight: 1, make: func(g *generator) {
			if g.options.NoFlush {
				return
			}
			g.do("SELECT", g.options.DBs[len(g.options.DBs)-1])
			args := g.maybe([]any{"FLUSHDB"}, "ASYNC")
			if g.since(6, 2) && len(args) == 1 {
				args = g.maybe(args, "SYNC")
			}
			g.do(args...)
			g.selectDB()
		}},
		{command: "flushall", weight: 1, make: func(g *generator) {
			if g.options.FlushAll && !g.flushed {
				g.flushed = true
				g.do("FLUSHALL")
			}
		}},
		{command: "publish", weight: 1, make: func(g *generator) { g.do("PUBLISH", "channel", g.value()) }},
		{command: "spublish", weight: 1, make: func(g *generator) { g.do("SPUBLISH", "shard-channel", g.value()) }},
	}
}

// dumpSamples makes values, and gives what the server's DUMP says of them.
func dumpSamples(ctx context.Context, conn *redis.Conn, g *generator) (map[string][]string, error) {
	key := g.options.Prefix + "sample"
	if err := conn.Select(ctx, g.options.DBs[0]).Err(); err != nil {
		return nil, err
	}
	samples := make(map[string][]string)
	for _, s := range sampleValues(g, key) {
		for _, args := range append(s.commands, []any{"DUMP", key}) {
			reply, err := conn.Do(ctx, args...).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				return nil, fmt.Errorf("%s of a %s: %w", args[0], s.kind, err)
			}
			if payload, ok := reply.(string); ok && args[0] == "DUMP" {
				samples[s.kind] = append(samples[s.kind], payload)
			}
		}
		if err := conn.Del(ctx, key).Err(); err != nil {
			return nil, err
		}
	}
	if !g.may(Function) {
		return samples, nil
	}
	for _, args := range [][]any{{"FUNCTION", "LOAD", "REPLACE", library(0, 0)}, {"FUNCTION", "DUMP"}} {
		reply, err := conn.Do(ctx, args...).Result()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", args[0], args[1], err)
		}
		samples[args[1].(string)] = []string{fmt.Sprint(reply)}
	}
	return samples, nil
}

type sample struct {
	kind     string
	commands [][]any
}

func sampleValues(g *generator, key string) []sample {
	many := func(command string, n int, one func(i int) []any) [][]any {
		args := []any{command, key}
		for i := range n {
			args = append(args, one(i)...)
		}
		return [][]any{args}
	}
	member := func(i int) []any { return []any{fmt.Sprintf("member:%d", i)} }
	field := func(i int) []any { return []any{fmt.Sprintf("field:%d", i), i} }
	scored := func(i int) []any { return []any{float64(i) / 3, fmt.Sprintf("member:%d", i)} }
	stream := append(
		many("XADD", 1, func(int) []any { return []any{"1-1", "a", "b"} }),
		[]any{"XADD", key, "2-1", "a", "c"}, []any{"XADD", key, "3-1", "x", ""},
		[]any{"XGROUP", "CREATE", key, "group:0", "2-1"}, []any{"XDEL", key, "2-1"},
		[]any{"XCLAIM", key, "group:0", "consumer:0", 0, "1-1", "TIME", 1_700_000_000_000, "RETRYCOUNT", 3, "FORCE"},
	)
	samples := []sample{
		{kindString, [][]any{{"SET", key, g.text(500)}}}, {kindString, [][]any{{"SET", key, ""}}},
		{kindNumber, [][]any{{"SET", key, 12345}}}, {kindNumber, [][]any{{"SET", key, "-9223372036854775808"}}},
		{kindFloat, [][]any{{"SET", key, "3.25"}}}, {kindBits, [][]any{{"SETBIT", key, 1000, 1}}},
		{kindHLL, many("PFADD", 50, member)},
		{kindList, many("RPUSH", 8, member)}, {kindList, many("RPUSH", 1000, member)},
		{kindSet, many("SADD", 8, member)}, {kindSet, many("SADD", 600, member)},
		{kindSet, many("SADD", 20, func(i int) []any { return []any{i} })},
		{kindHash, many("HSET", 8, field)}, {kindHash, many("HSET", 600, field)},
		{kindZset, many("ZADD", 8, scored)}, {kindZset, many("ZADD", 300, scored)},
		{kindLex, many("ZADD", 30, func(i int) []any { return []any{0, fmt.Sprintf("member:%d", i)} })},
		{kindStream, stream},
	}
	if g.may(HashFieldTTL) {
		at := g.options.Now.Add(24 * time.Hour).UnixMilli()
		expiring := []any{"HPEXPIREAT", key, at, "FIELDS", 1, "field:1"}
		samples = append(samples, sample{kindHash, append(many("HSET", 8, field), expiring)}, sample{kindHash, append(many("HSET", 600, field), expiring)})
	}
	if g.may(VectorSet) {
		samples = append(samples, sample{kindVector, many("VADD", 1, func(int) []any { return []any{"VALUES", 4, 0.1, 0.2, 0.3, 0.4, "vector:0"} })})
	}
	return samples
}
