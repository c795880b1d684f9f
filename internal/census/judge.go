package census

import (
	"bytes"
	"strconv"
	"strings"

	"godwit/internal/slot"
)

// How a command fares on a cluster whatever its keys are.
type nature uint8

const (
	plain       nature = iota
	splittable         // its keys are independent: each could have a command of its own
	oneShard           // answers for the keys of the shard it is sent to
	eachShard          // is to be sent to each shard
	refused            // "… is not allowed in cluster mode"
	script             // runs a script or function with the KEYS that it is given
	transacting        // MULTI, EXEC and what goes with them
	selecting          // SELECT
	conditional        // depends on its arguments, see judge
)

// natureOf is for a name in capitals. Which commands a cluster refuses: db.c
// (SELECT, SWAPDB, MOVE, COPY), sort.c (BY, GET).
func natureOf(name string) nature {
	switch name {
	case "MGET", "MSET", "DEL", "UNLINK", "EXISTS", "TOUCH", "SSUBSCRIBE", "SUNSUBSCRIBE", "JSON.MGET", "JSON.MSET":
		return splittable
	case "KEYS", "SCAN", "DBSIZE", "RANDOMKEY":
		return oneShard
	case "FLUSHALL", "FLUSHDB":
		return eachShard
	case "SWAPDB", "MOVE":
		return refused
	case "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO":
		return script
	case "MULTI", "EXEC", "DISCARD", "RESET", "WATCH", "UNWATCH":
		return transacting
	case "SELECT":
		return selecting
	case "COPY", "SORT", "SORT_RO", "XREAD", "XREADGROUP", "MSETEX", "PUBSUB", "SCRIPT", "FUNCTION":
		return conditional
	}
	return plain
}

// mayHaveSeveral tells of the commands that may have more than one key; of every other one
// the calls that were not seen are known to have one or none.
func mayHaveSeveral(name string) bool {
	switch natureOf(name) {
	case splittable, script:
		return true
	case oneShard, eachShard, refused, transacting, selecting:
		return false
	}
	switch name {
	case "COPY", "SORT", "SORT_RO", "XREAD", "XREADGROUP", "MSETEX", "WATCH", "MSETNX", "RENAME", "RENAMENX", "SMOVE", "RPOPLPUSH",
		"BRPOPLPUSH", "LMOVE", "BLMOVE", "BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX", "LMPOP", "BLMPOP", "ZMPOP", "BZMPOP",
		"SINTER", "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "SINTERCARD", "ZINTER", "ZUNION", "ZDIFF",
		"ZINTERSTORE", "ZUNIONSTORE", "ZDIFFSTORE", "ZINTERCARD", "ZRANGESTORE", "GEOSEARCHSTORE", "GEORADIUS",
		"GEORADIUSBYMEMBER", "BITOP", "PFCOUNT", "PFMERGE", "LCS", "STRALGO", "MIGRATE":
		return true
	}
	return false
}

// slots are the hash slots of keys, as far as they matter: whether there are any,
// the first one, and whether another one is among them.
type slots struct {
	any, several bool
	first        uint16
}

func (s *slots) add(n uint16) {
	if s.any && n != s.first {
		s.several = true
	}
	if !s.any {
		s.any, s.first = true, n
	}
}

func (s *slots) addAll(o slots) {
	if o.any {
		s.add(o.first)
		s.several = s.several || o.several
	}
}

func slotsOf(keys [][]byte) (s slots) {
	for _, key := range keys {
		s.add(slot.Of(key))
	}
	return s
}

// judge tells what becomes of one call by itself. name is in capitals, keys are those
// of args.
func judge(name string, n nature, args, keys [][]byte, db int) verdict {
	v := verdict{class: NoKey, effect: Works}
	s := slotsOf(keys)
	switch {
	case s.several:
		v = verdict{Crossing, Breaks, CrossSlot, ""}
	case len(keys) > 1:
		v.class = OneSlot
	case len(keys) == 1:
		v.class = OneKey
	}
	if w, found := special(name, n, args, s); found {
		w.class = v.class
		if w.effect == Splits {
			w.class = Independent
		}
		return w
	}
	if v.effect == Works && db > 0 && len(keys) > 0 {
		v.effect, v.reason, v.detail = Breaks, DB, strconv.Itoa(db)
	}
	return v
}

// special is for commands of which more counts than the slots of their keys.
func special(name string, n nature, args [][]byte, s slots) (verdict, bool) {
	switch n {
	case splittable:
		if s.several {
			return verdict{effect: Splits, reason: CrossSlot}, true
		}
	case oneShard:
		return verdict{effect: OneShard, reason: SeesOneShard}, true
	case eachShard:
		return verdict{effect: OneShard, reason: OnEachShard}, true
	case refused:
		return verdict{effect: Breaks, reason: Refused}, true
	case selecting:
		if len(args) > 1 && string(args[1]) != "0" {
			return verdict{effect: Breaks, reason: DB, detail: number(args[1])}, true
		}
	case conditional:
		return byArguments(name, args, s)
	}
	return verdict{}, false
}

// byArguments is for commands that a cluster has, but not with every argument.
func byArguments(name string, args [][]byte, s slots) (verdict, bool) {
	switch name {
	case "COPY":
		if i := find(args, 3, "DB"); i > 0 && i+1 < len(args) && string(args[i+1]) != "0" {
			return verdict{effect: Breaks, reason: Refused, detail: "DB"}, true
		}
	case "SORT", "SORT_RO":
		others, tagged := sortsByOthers(args, s.first)
		switch {
		case s.several:
		case tagged:
			return verdict{effect: Unknown, reason: ByTaggedKeys, detail: "BY/GET"}, true
		case others:
			return verdict{effect: Breaks, reason: ByOtherKeys, detail: "BY/GET"}, true
		}
	case "XREAD", "XREADGROUP":
		if s.several && find(args, 1, "BLOCK") == 0 {
			return verdict{effect: Splits, reason: CrossSlot}, true
		}
	case "MSETEX":
		if s.several && find(args, 2, "NX") == 0 && find(args, 2, "XX") == 0 {
			return verdict{effect: Splits, reason: CrossSlot}, true
		}
	case "PUBSUB":
		if sub := word(args); sub == "CHANNELS" || sub == "NUMSUB" || sub == "NUMPAT" {
			return verdict{effect: OneShard, reason: SeesOneShard, detail: sub}, true
		}
	case "SCRIPT":
		if sub := word(args); sub == "LOAD" || sub == "FLUSH" {
			return verdict{effect: OneShard, reason: OnEachShard, detail: sub}, true
		}
	case "FUNCTION":
		if sub := word(args); sub == "LOAD" || sub == "DELETE" || sub == "FLUSH" || sub == "RESTORE" {
			return verdict{effect: OneShard, reason: OnEachShard, detail: sub}, true
		}
	}
	return verdict{}, false
}

// sortsByOthers tells whether SORT reads keys that its patterns make, and whether all
// of these have a hash tag of that slot. A BY without a star only says not to sort,
// and GET # is the element itself (sort.c).
func sortsByOthers(args [][]byte, own uint16) (others, tagged bool) {
	tagged = true
	for i := 2; i+1 < len(args); i++ {
		switch strings.ToUpper(string(args[i])) {
		case "BY", "GET":
			by := len(args[i]) == len("BY")
			i++
			star := bytes.IndexByte(args[i], '*') >= 0
			if by && !star || !by && string(args[i]) == "#" {
				continue
			}
			tag := tagOf(args[i])
			others = true
			tagged = tagged && tag != "" && !strings.Contains(tag, "*") && slot.Of(args[i]) == own
		case "STORE":
			i++
		case "LIMIT":
			i += 2
		}
	}
	return others, others && tagged
}

// find is where a word stands in any case, from an index on; 0 if nowhere.
func find(args [][]byte, from int, word string) int {
	for i := from; i < len(args); i++ {
		if len(args[i]) == len(word) && strings.EqualFold(string(args[i]), word) {
			return i
		}
	}
	return 0
}

// word is the subcommand in capitals, as far as it is one that could be printed.
func word(args [][]byte) string {
	if len(args) < 2 || len(args[1]) > 32 {
		return ""
	}
	return strings.ToUpper(string(args[1]))
}

// number is an argument that is one, and nothing else.
func number(arg []byte) string {
	if n, err := strconv.Atoi(string(arg)); err == nil {
		return strconv.Itoa(n)
	}
	return "?"
}
