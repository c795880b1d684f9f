package traffic

import (
	"crypto/sha1" //nolint:gosec // the name that EVALSHA has for a script
	"encoding/hex"
	"fmt"
)

// scriptMakers make transactions, scripts and functions.
func scriptMakers() []maker {
	return []maker{
		{command: "multi", weight: 8, make: makeMulti},
		{command: "eval", weight: 4, make: func(g *generator) {
			g.do(with([]any{"EVAL", scripts()[g.IntN(len(scripts()))]}, g.scriptArguments()...)...)
		}},
		{command: "evalsha", weight: 3, make: func(g *generator) {
			script := scripts()[g.IntN(len(scripts()))]
			g.do("SCRIPT", "LOAD", script)
			hash := sha1.Sum([]byte(script)) //nolint:gosec // as above
			g.do(with([]any{"EVALSHA", hex.EncodeToString(hash[:])}, g.scriptArguments()...)...)
		}},
		{command: "function", weight: 2, feature: Function, make: func(g *generator) { g.load() }},
		{command: "function", weight: 1, feature: Function, make: func(g *generator) {
			g.do("FUNCTION", "DELETE", libraryName(g.load()))
		}},
		{command: "function", weight: 1, feature: Function, make: func(g *generator) { g.do(g.maybe([]any{"FUNCTION", "FLUSH"}, "ASYNC", "SYNC")...) }},
		{command: "function", weight: 1, feature: Function, make: func(g *generator) {
			g.do("FUNCTION", "RESTORE", g.samples["DUMP"][0], g.oneOf("FLUSH", "REPLACE"))
		}},
		{command: "fcall", weight: 4, feature: Function, make: func(g *generator) {
			function := fmt.Sprintf("traffic_%d", g.load())
			g.do(with([]any{"FCALL", function}, g.scriptArguments()...)...)
		}},
	}
}

// makeMulti makes a transaction of what other makers do; a few are discarded.
func makeMulti(g *generator) {
	if g.inMulti {
		return
	}
	if g.chance(4) {
		g.do("WATCH", g.key(kindString))
	}
	g.do("MULTI")
	g.inMulti = true
	for range 1 + g.IntN(5) {
		if g.chance(10) {
			g.selectDB()
		}
		g.next()
	}
	g.inMulti = false
	if g.chance(10) {
		g.do("DISCARD")
		g.selectDB() // one that was discarded had no effect
		return
	}
	g.do("EXEC")
}

// scripts take a string, a list, a hash and a set, and a value.
func scripts() []string {
	return []string{
		"redis.call('SET', KEYS[1], ARGV[1]); redis.call('PEXPIRE', KEYS[1], 7200000); return redis.call('RPUSH', KEYS[2], ARGV[1], '')",
		"for i = 1, 5 do redis.call('HSET', KEYS[3], 'field:' .. i, ARGV[1] .. i) end; return redis.call('SPOP', KEYS[4])",
		"redis.call('SADD', KEYS[4], ARGV[1]); redis.call('SET', KEYS[1], redis.call('TIME')[1]); redis.call('DEL', KEYS[2])",
		"redis.call('LPUSH', KEYS[2], tostring(math.random())); if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('APPEND', KEYS[1], ARGV[1]) end",
	}
}

func (g *generator) scriptArguments() []any {
	return []any{4, g.keyOf(kindString), g.keyOf(kindList), g.keyOf(kindHash), g.keyOf(kindSet), g.value()}
}

// load loads one of a few libraries in one of several versions.
func (g *generator) load() int {
	n := g.IntN(3)
	g.do("FUNCTION", "LOAD", "REPLACE", library(n, g.IntN(5)))
	return n
}

func libraryName(n int) string { return fmt.Sprintf("traffic_library_%d", n) }

func library(n, version int) string {
	script := scripts()[version%len(scripts())]
	return fmt.Sprintf("#!lua name=%s\n-- version %d\nredis.register_function('traffic_%d', function(KEYS, ARGV) %s end)\n",
		libraryName(n), version, n, script)
}
