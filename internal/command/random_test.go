package command_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// patterns are writes with random parts, see expand. They leave out what has no
// equal somewhere.
func patterns() []string {
	return strings.Split(strings.TrimSpace(`
SET {s} {v}
SET {s} {n} EX {ttl}
SET {s} {v} PXAT {at}
SET {s} {v} NX PX {ttl}000
SET {s} {v} XX KEEPTTL
SET {s} {v} GET
SET {s} {v} IFEQ {v}
SET {s} {v} IFNE {v} PXAT {at}
SETEX {s} {ttl} {n}
GETSET {s} {n}
GETDEL {s}
GETEX {s} PX {ttl}000
GETEX {s} PERSIST
MSET {s} {v} {s} {n}
MSETEX 2 {s} {v} {s} {n} EX {ttl}
MSETEX 2 {s} {v} {s} {n} NX PXAT {at}
MSETEX 1 {s} {v} KEEPTTL
APPEND {s} {v}
SETRANGE {s} {n} {v}
INCRBY {s} {n}
INCRBYFLOAT {s} {n}.25
SETBIT {b} {n} 1
SETRANGE {b} {n} {v}
BITOP OR {b} {b} {b}
BITOP DIFF bits:9 {b} {b} {b}
BITOP DIFF1 bits:9 {b} {b}
BITOP ANDOR bits:9 {b} {b} {b}
BITFIELD {b} INCRBY u8 {n} 7 OVERFLOW FAIL INCRBY u2 3 2
PFADD hll:{n} {v} {v}
PFMERGE hll:0 hll:1 hll:2
DELEX {s} IFEQ {v}
DELEX {s}
DELIFEQ {s} {v}
DEL {any}
UNLINK {any} {any}
EXPIRE {any} {ttl}
EXPIRE {any} {ttl} NX
PEXPIREAT {any} {at} GT
EXPIRE {any} {ttl} LT
PERSIST {any}
RENAME {l} {l}
RENAMENX {z} {z}
RENAME {x} {x}
RENAME {h} {h}
COPY {s} {s} REPLACE
COPY {l} {l} REPLACE
COPY {h} {h}
COPY {z} {z} REPLACE
COPY {x} {x} REPLACE
COPY {e} {e} DB 1 REPLACE
MOVE {e} 2
SORT {l} ALPHA STORE {l}
RPUSH {l} {v} {v} {n}
LPUSH {l} {n}
LPOP {l}
LPOP {l} {n}
RPOP {l} {n}
LINSERT {l} BEFORE {v} {n}
LREM {l} {n} {v}
LSET {l} 0 {v}
LTRIM {l} {n} -2
RPOPLPUSH {l} {l}
LMOVE {l} {l} LEFT RIGHT
LMOVE {l} {l} LEFT LEFT
LMOVE {l} {l} RIGHT RIGHT
LMPOP 2 {l} {l} RIGHT COUNT {n}
BLMOVE {l} {l} LEFT RIGHT 0.001
SADD {e} {v} {n} {v}
SREM {e} {v}
SPOP {e} {n}
SPOP {e}
SMOVE {e} {e} {v}
SUNIONSTORE {e} {e} {e}
SDIFFSTORE {e} {e} {e}
HSET {h} {v} {n} {v} {v}
HSETNX {h} {v} {n}
HDEL {h} {v}
HINCRBY {h} n {n}
HINCRBYFLOAT {h} n {n}.5
HGETDEL {h} FIELDS 2 {v} n
HSETEX {h} FIELDS 1 {v} {n}
HSETEX {h} EX {ttl} FIELDS 1 {v} {n}
HSETEX {h} FNX PXAT {at} FIELDS 1 {v} {n}
HSETEX {h} KEEPTTL FIELDS 1 {v} {n}
HEXPIRE {h} {ttl} FIELDS 1 {v}
HPEXPIREAT {h} {at} GT FIELDS 1 {v}
HPERSIST {h} FIELDS 1 {v}
HGETEX {h} EX {ttl} FIELDS 1 {v}
ZADD {z} {score} {v} {score} {v} {score} {v}
ZADD {z} GT {score} {v} {score} {v}
ZADD {z} LT CH {score} {v} {score} {v} {score} {v}
ZADD {z} XX GT {score} {v} {score} {v}
ZADD {z} LT {score} {v}
ZADD {z} NX {score} {v}
ZINCRBY {z} 0.1 {v}
ZADD {z} GT INCR 0.3 {v}
ZREM {z} {v}
ZPOPMIN {z} {n}
ZMPOP 1 {z} MAX COUNT {n}
ZREMRANGEBYRANK {z} 0 {n}
ZUNIONSTORE {z} 2 {z} {e} WEIGHTS 1 0.3
ZINTERSTORE {z} 2 {z} {z} AGGREGATE MAX
ZDIFFSTORE {z} 3 {z} {z} {e}
ZRANGESTORE {z} {z} {n} -1 REV
ZRANGESTORE {z} {z} -inf (2.5 BYSCORE LIMIT 1 2
ZRANGESTORE {z} {z} [h - BYLEX REV
GEOADD geo:{n} 13.{n} 38 {v} 15 37.{n} {v}
GEOSEARCHSTORE geo:{n} geo:{n} FROMLONLAT 15 37 BYRADIUS 200 km ASC COUNT 3
GEOSEARCHSTORE geo:9 geo:{n} FROMLONLAT 13 38 BYRADIUS 100 km STOREDIST
XADD {x} {new} {v} {n}
XADD {x} {new} {v} {n} {v} {v}
XADD {x} MAXLEN ~ 5 {new} {v} {n}
XADD {x} NOMKSTREAM MAXLEN = 5 {new} {v} {n}
XADD {x} MINID {id} {new} {v} {n}
XADD {x} DELREF MAXLEN 5 {new} {v} {n}
XADD {x} ACKED MAXLEN 5 {new} {v} {n}
XTRIM {x} MINID {id}
XTRIM {x} MAXLEN {n} KEEPREF
XTRIM {x} MAXLEN {n} DELREF
XTRIM {x} MAXLEN {n} ACKED
XTRIM {x} MINID {id} ACKED
XDEL {x} {id} {id}
XDELEX {x} DELREF IDS 2 {id} {id}
XDELEX {x} ACKED IDS 2 {id} {id}
XGROUP CREATE {x} {g} 0 MKSTREAM
XGROUP CREATE {x} {g} $ ENTRIESREAD 0
XGROUP CREATECONSUMER {x} {g} {c}
XGROUP SETID {x} {g} {id}
XGROUP DESTROY {x} g3
XGROUP DELCONSUMER {x} {g} {c}
XREADGROUP GROUP {g} {c} COUNT 3 STREAMS {x} >
XREADGROUP GROUP {g} {c} COUNT 2 NOACK STREAMS {x} >
XACK {x} {g} {id} {id} {id}
XACKDEL {x} {g} DELREF IDS 2 {id} {id}
XACKDEL {x} {g} ACKED IDS 1 {id}
XACKDEL {x} {g} IDS 1 {id}
XCLAIM {x} {g} {c} 0 {id} {id}
XAUTOCLAIM {x} {g} {c} 0 0 COUNT 3
`), "\n")
}

var part = regexp.MustCompile(`\{(\w+)\}`)

// entries are the IDs that were added to each stream, or were to be.
type entries map[string][]string

// expand chooses the parts of a pattern. There are few keys and values, so that
// commands meet.
func (ids entries) expand(rng *rand.Rand, pattern string, serial int) []string {
	stream := ""
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	key := func(name string) string { return fmt.Sprintf("%s:%d", name, rng.IntN(4)) }
	line := part.ReplaceAllStringFunc(pattern, func(p string) string {
		switch p {
		case "{s}":
			return key("string")
		case "{b}":
			return key("bits")
		case "{l}":
			return key("list")
		case "{e}":
			return key("set")
		case "{h}":
			return key("hash")
		case "{z}":
			return key("zset")
		case "{x}":
			stream = key("stream")
			return stream
		case "{any}":
			return key(pick("string", "bits", "list", "set", "hash", "zset", "stream", "hll", "geo"))
		case "{v}":
			return pick("a", "b", "c", "d", "e", "f", "g", "h")
		case "{n}":
			return fmt.Sprint(rng.IntN(6))
		case "{ttl}":
			return fmt.Sprint(5000 + rng.IntN(5000))
		case "{at}":
			return fmt.Sprintf("{+%dms}", 5000+rng.IntN(5000))
		case "{score}":
			return pick("-inf", "+inf", "0.1", "1", "2.5", "1e17", "-3", "0.30000000000000004", "5e-324")
		case "{new}":
			ids[stream] = append(ids[stream], fmt.Sprintf("%d-%d", serial, rng.IntN(3)+1))
			return ids[stream][len(ids[stream])-1]
		case "{id}": // one of the last ones
			if n := len(ids[stream]); n > 0 {
				return ids[stream][max(0, n-1-rng.IntN(12))]
			}
			return "1-1"
		case "{g}":
			return pick("g1", "g2", "g3")
		case "{c}":
			return pick("c1", "c2", "c3")
		default:
			return p
		}
	})
	return strings.Fields(line)
}

var (
	seed  = flag.Uint64("seed", 1, "of TestRandomWrites")
	count = flag.Int("writes", 3000, "of TestRandomWrites, to each server")
)

// TestRandomWrites is TestEveryPair with random commands, which meet in the same
// few keys: what is worked out from the target's data must be right at any time.
func TestRandomWrites(t *testing.T) {
	t.Logf("-seed %d -writes %d", *seed, *count)
	var targets []*target
	for _, s := range subjects() {
		targets = append(targets, newTarget(t, s))
	}
	for n, from := range subjects() {
		ids := make(entries)
		rng := rand.New(rand.NewPCG(*seed, uint64(n)))
		var all []write
		for i, p := range patterns() { // each of them once, then at random
			all = append(all, write{text: p, words: ids.expand(rng, p, i+1)})
		}
		for i := len(all); i < *count; i++ {
			p := patterns()[rng.IntN(len(patterns()))]
			words := ids.expand(rng, p, i+1)
			if rng.IntN(20) == 0 {
				all = append(all, write{words: []string{"MULTI"}}, write{words: words}, write{words: []string{"INCR", "string:9"}}, write{words: []string{"EXEC"}})
				continue
			}
			all = append(all, write{text: strings.Join(words, " "), words: words})
		}
		sandbox := start(t, from)
		src := record(t, sandbox)
		played := src.play(all)
		capabilities := from.asked(t, src.client)
		found := make([]*outcome, len(targets))
		var group sync.WaitGroup
		for i, to := range targets {
			group.Go(func() {
				found[i] = to.rewrite(capabilities, played)
				found[i].compare(t, sandbox.Endpoint(), from, to)
			})
		}
		group.Wait()
		for i, to := range targets {
			found[i].judge(t, from, to, targets[n])
			if len(found[i].refused) > 0 {
				t.Errorf("%s to %s: refused: %v", from.name, to.name, found[i].refused)
			}
			t.Logf("%s to %s: %d passed, %d rewritten, dropped %v, %d bytes became %d", from.name, to.name,
				found[i].passed, found[i].rewritten, found[i].dropped, found[i].lengthOfTheOriginal, len(found[i].stream))
		}
	}
}
