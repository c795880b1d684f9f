package command

import (
	"bytes"
	"slices"
	"strings"
)

// appendCounted appends the keys of commands that no replication stream has, and of
// which COMMAND does not tell where they are: the keys are counted by an argument, or
// are behind a subcommand or a word (server.c getKeysFromCommand and the getkeys procs
// beside it; what 6.0 has as STRALGO is LCS from 7.0 on). It tells whether name is one.
func appendCounted(dst, args [][]byte, name string) (keys [][]byte, found bool) {
	switch name {
	case "EVAL_RO", "EVALSHA_RO", "FCALL_RO", "BLMPOP", "BZMPOP":
		return counted(dst, args, 2, 1), true
	case "ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD", "SINTERCARD":
		return counted(dst, args, 1, 1), true
	case "SORT_RO":
		return append(dst, args[1]), true
	case "XREAD", "XREADGROUP":
		return appendStreams(dst, args), true
	case "MIGRATE":
		if len(args) > 3 && len(args[3]) > 0 {
			return append(dst, args[3]), true
		}
		i := slices.IndexFunc(args, func(arg []byte) bool { return is(arg, "KEYS") })
		if i < 0 {
			return dst, true
		}
		return append(dst, args[i+1:]...), true
	case "OBJECT", "XINFO", "MEMORY":
		if len(args) > 2 && (name != "MEMORY" || is(args[1], "USAGE")) {
			dst = append(dst, args[2])
		}
		return dst, true
	case "STRALGO":
		i := slices.IndexFunc(args, func(arg []byte) bool { return is(arg, "KEYS") })
		if i < 0 || i+2 >= len(args) {
			return dst, true
		}
		return append(dst, args[i+1], args[i+2]), true
	}
	return dst, false
}

// appendStreams appends the keys of XREAD and XREADGROUP; any of their other arguments
// may read STREAMS too (t_stream.c xreadGetKeys, xreadCommand).
func appendStreams(dst, args [][]byte) [][]byte {
	for i := 1; i < len(args); i++ {
		switch {
		case is(args[i], "STREAMS"):
			rest := args[i+1:] // as many IDs follow the keys
			return append(dst, rest[:len(rest)/2]...)
		case isOneOf(args[i], "BLOCK", "COUNT", "CLAIM"):
			i++
		case is(args[i], "GROUP"):
			i += 2
		}
	}
	return dst
}

// KnowsKeysOf tells whether AppendKeys knows where a command, in any case, has its
// keys, rather than takes its first argument for one.
func (c *Capabilities) KnowsKeysOf(name []byte) bool {
	upper := string(bytes.ToUpper(name))
	if c.Learnt.commands != nil {
		_, known := c.Learnt.commands[upper]
		return known
	}
	if _, found := appendCounted(nil, [][]byte{name, nil}, upper); found {
		return true
	}
	_, later := c.options[Option(upper)]
	return later || keySpec(upper) != KeySpec{1, 1, 1} || slices.Contains(oldCommands(), upper) || slices.Contains(firstKey(), upper)
}

// keyless tells of the commands that have no keys, and of those whose channels or
// patterns are no keys either.
func keyless(name string) bool {
	switch name {
	case "ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "COMMANDLOG", "CONFIG", "DBSIZE",
		"DEBUG", "DISCARD", "ECHO", "EXEC", "FAILOVER", "FLUSHALL", "FLUSHDB", "FUNCTION", "HELLO", "HOST:", "HOTKEYS", "INFO",
		"KEYS", "LASTSAVE", "LATENCY", "LOLWUT", "MODULE", "MONITOR", "MULTI", "PFSELFTEST", "PING", "POST", "PSUBSCRIBE",
		"PSYNC", "PUBLISH", "PUBSUB", "PUNSUBSCRIBE", "QUIT", "RANDOMKEY", "READONLY", "READWRITE", "REPLCONF", "REPLICAOF",
		"RESET", "ROLE", "SAVE", "SCAN", "SCRIPT", "SELECT", "SHUTDOWN", "SLAVEOF", "SLOWLOG", "SUBSCRIBE", "SWAPDB", "SYNC",
		"TIME", "TRIMSLOTS", "UNSUBSCRIBE", "UNWATCH", "WAIT", "WAITAOF":
		return true
	}
	return false
}

// firstKey lists the commands of all versions that have one key, as their first
// argument, and that oldCommands has not.
func firstKey() []string {
	return strings.Fields(`BITCOUNT BITFIELD_RO BITPOS CLUSTERSCAN DELEX DELIFEQ DIGEST DUMP EXPIRETIME GEODIST GEOHASH
		GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT GETDEL GETEX GETRANGE HEXISTS HEXPIRE HEXPIREAT
		HEXPIRETIME HGET HGETALL HGETDEL HGETEX HKEYS HLEN HMGET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL
		HRANDFIELD HSCAN HSETEX HSTRLEN HTTL HVALS LINDEX LLEN LPOS LRANGE PEXPIRETIME PTTL SCARD SISMEMBER SMEMBERS
		SMISMEMBER SPUBLISH SRANDMEMBER SSCAN STRLEN SUBSTR TTL TYPE VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS
		VRANDMEMBER VRANGE VREM VSETATTR VSIM XACKDEL XAUTOCLAIM XCFGSET XDELEX XIDMPRECORD XLEN XPENDING XRANGE
		XREVRANGE ZCARD ZCOUNT ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE
		ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE`)
}
