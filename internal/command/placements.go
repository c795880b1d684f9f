package command

import "godwit/internal/slot"

// access is what a command does with the value of a key.
type access uint8

const (
	// reads: what it does depends on the value that is there.
	reads access = 1 << iota
	// writes: it may change the value, make or delete the key.
	writes
)

// placement is what is known of one command.
type placement struct {
	name string // in capitals

	always Placing // whatever its arguments, if it has no keys
	apart  Placing // if its keys are of several slots
	keys   layout
	only   int // where its only key is; 0 if it may have several

	first, rest access // of its first key, and of the others

	// options, if not nil, says what it does with its keys with these options.
	options func(args [][]byte) (first, rest access)

	// special, if not nil, knows better for some arguments: undecided otherwise.
	special func(c *placement, args [][]byte) (Placing, uint16, error)
}

// without is a command that has no keys.
func without(p Placing) placement { return placement{always: p} }

// ofKey is a command with one key.
func ofKey(at int, does access) placement {
	return placement{keys: inRange(at, at, 1), only: at, first: does, rest: does}
}

// ofKeys is one that does the same with all its keys; if these are of several
// slots, it is carried by value.
func ofKeys(l layout, does access) placement {
	return placement{keys: l, apart: ByValue, first: does, rest: does}
}

// ofTwo does one thing with its first key and another with the rest.
func ofTwo(l layout, first, rest access) placement {
	return placement{keys: l, apart: ByValue, first: first, rest: rest}
}

func (c placement) inParts() placement { c.apart = Parts; return c }

func (c placement) with(options func([][]byte) (access, access)) placement {
	c.options = options
	return c
}

func (c placement) unless(special func(*placement, [][]byte) (Placing, uint16, error)) placement {
	c.special = special
	return c
}

// access is what the command does with its first key, and with the others.
func (c *placement) access(args [][]byte) (first, rest access) {
	if c.options != nil {
		return c.options(args)
	}
	return c.first, c.rest
}

// placements are those of every command that may occur in the replication stream of
// a server that is known, and of every other that writes, though servers propagate
// others in its place. Where the keys are is as in the servers' src/commands/*.json.
// What is done with them is, in places, otherwise than these say:
//
//   - OW ("overwrites") has no condition in it: COPY, RESTORE, RENAMENX, SETNX,
//     MSETNX, MSETEX and SET do nothing to a key that is there, or is not, with some
//     options or always; so they read it, too.
//   - RW of SINTERSTORE (7.0) is OW on every later server, and was always: it calls
//     dbDelete or setKey (t_set.c sinterGenericCommand).
//   - TOUCH and, with several keys, PFCOUNT change nothing. PFCOUNT of one key writes
//     the count that it computed into the value, so that is what it does here.
//   - DELIFEQ (RM) depends on the value.
//   - XREADGROUP (RO) writes to the group; it is propagated as XCLAIM and XGROUP SETID,
//     and MIGRATE as DEL. They are left out, and would be an error.
func placements() map[string]placement {
	all := map[string]placement{
		"SET":         ofKey(1, changes).with(setAccess),
		"SETEX":       ofKey(1, writes),
		"PSETEX":      ofKey(1, writes),
		"RESTORE":     ofKey(1, changes).with(restoreAccess),
		"DELEX":       ofKey(1, changes).with(delexAccess),
		"SPUBLISH":    without(OneSlot).unless(channelSlot), // cluster.c: of its channel, which is no key
		"XGROUP":      ofKey(2, changes),
		"PFDEBUG":     ofKey(2, changes),
		"DEL":         ofKeys(inRange(1, -1, 1), writes).inParts(),
		"UNLINK":      ofKeys(inRange(1, -1, 1), writes).inParts(),
		"TOUCH":       ofKeys(inRange(1, -1, 1), 0).inParts(),
		"MSET":        ofKeys(inRange(1, -1, 2), writes).inParts(),
		"MSETNX":      ofKeys(inRange(1, -1, 2), changes).inParts(), // it is only propagated if no key was there
		"MSETEX":      ofKeys(countedAt(1, 2), changes).with(msetexAccess).inParts(),
		"RENAME":      ofTwo(inRange(1, 2, 1), changes, writes),
		"RENAMENX":    ofTwo(inRange(1, 2, 1), changes, changes),
		"COPY":        ofTwo(inRange(1, 2, 1), reads, changes).with(copyAccess).unless(copiesToDB),
		"SMOVE":       ofKeys(inRange(1, 2, 1), changes),
		"LMOVE":       ofKeys(inRange(1, 2, 1), changes),
		"BLMOVE":      ofKeys(inRange(1, 2, 1), changes),
		"RPOPLPUSH":   ofKeys(inRange(1, 2, 1), changes),
		"BRPOPLPUSH":  ofKeys(inRange(1, 2, 1), changes),
		"BLPOP":       ofKeys(inRange(1, -2, 1), changes),
		"BRPOP":       ofKeys(inRange(1, -2, 1), changes),
		"BZPOPMIN":    ofKeys(inRange(1, -2, 1), changes),
		"BZPOPMAX":    ofKeys(inRange(1, -2, 1), changes),
		"LMPOP":       ofKeys(countedAt(1, 1), changes),
		"ZMPOP":       ofKeys(countedAt(1, 1), changes),
		"BLMPOP":      ofKeys(countedAt(2, 1), changes),
		"BZMPOP":      ofKeys(countedAt(2, 1), changes),
		"SORT":        ofTwo(layout{find: findStore, first: 2}, reads, writes).unless(sortsByOthers),
		"BITOP":       ofTwo(inRange(2, -1, 1), writes, reads),
		"PFMERGE":     ofTwo(inRange(1, -1, 1), changes, reads), // into what is there
		"PFCOUNT":     ofKeys(inRange(1, -1, 1), changes),
		"SINTERSTORE": ofTwo(inRange(1, -1, 1), writes, reads),
		"SUNIONSTORE": ofTwo(inRange(1, -1, 1), writes, reads),
		"SDIFFSTORE":  ofTwo(inRange(1, -1, 1), writes, reads),
		"ZUNIONSTORE": ofTwo(layout{find: findDestination, first: 2}, writes, reads),
		"ZINTERSTORE": ofTwo(layout{find: findDestination, first: 2}, writes, reads),
		"ZDIFFSTORE":  ofTwo(layout{find: findDestination, first: 2}, writes, reads),
		"ZRANGESTORE": ofTwo(inRange(1, 2, 1), writes, reads),

		"GEOSEARCHSTORE":    ofTwo(inRange(1, 2, 1), writes, reads),
		"GEORADIUS":         ofTwo(layout{find: findStore, first: 6}, reads, writes),
		"GEORADIUSBYMEMBER": ofTwo(layout{find: findStore, first: 5}, reads, writes),

		// Before 7.0 a server can be set to propagate scripts rather than their effects.
		"EVAL":    ofKeys(countedAt(2, 1), changes),
		"EVALSHA": ofKeys(countedAt(2, 1), changes),
		"FCALL":   ofKeys(countedAt(2, 1), changes),

		"FLUSHALL": without(Everywhere),
		"FLUSHDB":  without(Everywhere),
		"SCRIPT":   without(undecided).unless(everywhere("LOAD", "FLUSH")), // before 7.0
		"FUNCTION": without(undecided).unless(everywhere("LOAD", "DELETE", "FLUSH", "RESTORE")),
		"PUBLISH":  without(Once),
		"MOVE":     {keys: inRange(1, 1, 1), always: Dbs, first: changes},
		"SWAPDB":   without(Dbs),

		"CLUSTER":   without(undecided).unless(clusterCommand),
		"TRIMSLOTS": without(Moving),

		"PING": without(NoData), "REPLCONF": without(NoData), "SELECT": without(NoData),
		"MULTI": without(NoData), "EXEC": without(NoData), "DISCARD": without(NoData),
	}
	all["XADD"] = ofKey(1, changes).unless(addsOnce)
	all["RESTORE-ASKING"] = all["RESTORE"]
	for _, name := range changingOneKey() {
		all[name] = ofKey(1, changes)
	}
	return all
}

// changingOneKey are the commands that change the value of their first argument.
func changingOneKey() []string {
	return []string{
		"APPEND", "BITFIELD", "DECR", "DECRBY", "DELIFEQ", "GETDEL", "GETEX", "GETSET", "INCR", "INCRBY", "INCRBYFLOAT",
		"SETBIT", "SETNX", "SETRANGE", "PFADD",
		"EXPIRE", "EXPIREAT", "PERSIST", "PEXPIRE", "PEXPIREAT",
		"LINSERT", "LPOP", "LPUSH", "LPUSHX", "LREM", "LSET", "LTRIM", "RPOP", "RPUSH", "RPUSHX",
		"SADD", "SPOP", "SREM",
		"HDEL", "HEXPIRE", "HEXPIREAT", "HGETDEL", "HGETEX", "HINCRBY", "HINCRBYFLOAT", "HMSET", "HPERSIST", "HPEXPIRE",
		"HPEXPIREAT", "HSET", "HSETEX", "HSETNX",
		"GEOADD", "ZADD", "ZINCRBY", "ZPOPMAX", "ZPOPMIN", "ZREM", "ZREMRANGEBYLEX", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE",
		"XACK", "XACKDEL", "XAUTOCLAIM", "XCFGSET", "XCLAIM", "XDEL", "XDELEX", "XIDMPRECORD", "XSETID", "XTRIM",
		"VADD", "VREM", "VSETATTR",
	}
}

func channelSlot(c *placement, args [][]byte) (Placing, uint16, error) {
	if len(args) < 2 {
		return undecided, 0, c.malformed("it has no channel")
	}
	return OneSlot, slot.Of(args[1]), nil
}

// clusterCommand is for what the primary of a shard tells its replicas.
func clusterCommand(c *placement, args [][]byte) (Placing, uint16, error) {
	switch {
	case len(args) > 1 && isOneOf(args[1], "SETSLOT", "SYNCSLOTS"):
		return Moving, 0, nil
	case len(args) > 2 && is(args[1], "FLUSHSLOT"): // Valkey 9.1
		n, ok := integer(args[2])
		if !ok || n < 0 || n >= slot.Count {
			return undecided, 0, c.malformed("%s is no slot", printable(args[2]))
		}
		return WholeSlot, uint16(n), nil
	default:
		return undecided, 0, c.malformed("no server is known to propagate this subcommand")
	}
}

// everywhere is for a container of which only these subcommands are propagated.
func everywhere(subcommands ...string) func(*placement, [][]byte) (Placing, uint16, error) {
	return func(c *placement, args [][]byte) (Placing, uint16, error) {
		if len(args) < 2 || !isOneOf(args[1], subcommands...) {
			return undecided, 0, c.malformed("no server is known to propagate this subcommand")
		}
		return Everywhere, 0, nil
	}
}
