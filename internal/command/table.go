package command

import "godwit/internal/rdb"

// Option is something that a later version can say and an earlier one cannot: a
// command ("COPY"), a subcommand ("XGROUP CREATECONSUMER") or an option of a
// command ("SET PXAT").
type Option string

// since says from which version on an option is known, by product; 0.0 is never.
type since struct {
	redis, valkey, redict [2]int
}

// from is an option that Redis has had from a version on, and the forks too if
// that was before they parted.
func from(major, minor int) since {
	s := since{redis: [2]int{major, minor}}
	if major < forkMajor || major == forkMajor && minor <= forkMinor {
		s.valkey, s.redict = [2]int{forkMajor, forkMinor}, [2]int{forkMajor, forkMinor}
	}
	return s
}

// valkey adds from when Valkey has had it.
func (s since) inValkey(major, minor int) since {
	s.valkey = [2]int{major, minor}
	return s
}

func (s since) includes(v Version) bool {
	first := s.redis
	switch v.Product {
	case rdb.Valkey:
		first = s.valkey
	case rdb.Redict:
		first = s.redict
	}
	return first != [2]int{} && v.AtLeast(first[0], first[1])
}

// options has what came after 6.0, from the history on each command's page and
// the servers' src/commands/*.json. What is in no row is as old as its command.
func options() map[Option]since {
	valkeyOnly := since{}
	return map[Option]since{
		"COPY": from(6, 2), "GETDEL": from(6, 2), "GETEX": from(6, 2), "LMOVE": from(6, 2), "BLMOVE": from(6, 2),
		"ZDIFFSTORE": from(6, 2), "ZRANGESTORE": from(6, 2), "GEOSEARCHSTORE": from(6, 2), "XAUTOCLAIM": from(6, 2),
		"SET EXAT": from(6, 2), "SET PXAT": from(6, 2), "SET GET": from(6, 2),
		"LPOP count": from(6, 2), "RPOP count": from(6, 2),
		"ZADD GT": from(6, 2), "ZADD LT": from(6, 2),
		"GEOADD NX": from(6, 2), "GEOADD XX": from(6, 2), "GEOADD CH": from(6, 2),
		"GEORADIUS ANY": from(6, 2), "GEORADIUSBYMEMBER ANY": from(6, 2),
		"XADD NOMKSTREAM": from(6, 2), "XADD MINID": from(6, 2), "XADD LIMIT": from(6, 2),
		"XTRIM MINID": from(6, 2), "XTRIM LIMIT": from(6, 2),
		"XGROUP CREATECONSUMER": from(6, 2),
		"FLUSHALL SYNC":         from(6, 2), "FLUSHDB SYNC": from(6, 2),
		"SCRIPT FLUSH ASYNC": from(6, 2), "SCRIPT FLUSH SYNC": from(6, 2),

		"FUNCTION": from(7, 0), "FCALL": from(7, 0), "SPUBLISH": from(7, 0),
		"LMPOP": from(7, 0), "BLMPOP": from(7, 0), "ZMPOP": from(7, 0), "BZMPOP": from(7, 0),
		"EXPIRE NX": from(7, 0), "EXPIRE XX": from(7, 0), "EXPIRE GT": from(7, 0), "EXPIRE LT": from(7, 0),
		"XSETID ENTRIESADDED": from(7, 0), "XSETID MAXDELETEDID": from(7, 0), "XGROUP ENTRIESREAD": from(7, 0),
		// XCLAIM takes a message off the pending ones if its entry has been deleted.
		claimOfDeleted: from(7, 0),

		"HEXPIRE": from(7, 4).inValkey(9, 0), "HPEXPIRE": from(7, 4).inValkey(9, 0),
		"HEXPIREAT": from(7, 4).inValkey(9, 0), "HPEXPIREAT": from(7, 4).inValkey(9, 0),
		"HPERSIST": from(7, 4).inValkey(9, 0),

		"HGETDEL": from(8, 0).inValkey(9, 1), "HGETEX": from(8, 0).inValkey(9, 0), "HSETEX": from(8, 0).inValkey(9, 0),
		"HSETEX FNX": from(8, 0).inValkey(9, 0), "HSETEX FXX": from(8, 0).inValkey(9, 0),
		"HSETEX NX": valkeyOnly.inValkey(9, 1), "HSETEX XX": valkeyOnly.inValkey(9, 1),
		"VADD": from(8, 0), "VREM": from(8, 0), "VSETATTR": from(8, 0),

		"XDELEX": from(8, 2), "XACKDEL": from(8, 2),
		"XADD KEEPREF": from(8, 2), "XADD DELREF": from(8, 2), "XADD ACKED": from(8, 2),
		"XTRIM KEEPREF": from(8, 2), "XTRIM DELREF": from(8, 2), "XTRIM ACKED": from(8, 2),
		"BITOP DIFF": from(8, 2), "BITOP DIFF1": from(8, 2), "BITOP ANDOR": from(8, 2), "BITOP ONE": from(8, 2),

		"SET IFEQ": from(8, 4).inValkey(8, 1), "SET IFNE": from(8, 4), "SET IFDEQ": from(8, 4), "SET IFDNE": from(8, 4),
		"DELEX": from(8, 4), "MSETEX": from(8, 4).inValkey(9, 1),

		"XADD IDMP": from(8, 6), "XADD IDMPAUTO": from(8, 6), "XCFGSET": from(8, 6), "XIDMPRECORD": from(8, 6),

		"DELIFEQ": valkeyOnly.inValkey(9, 0), "GEOSEARCHSTORE BYPOLYGON": valkeyOnly.inValkey(9, 0),
		"CLUSTER FLUSHSLOT": valkeyOnly.inValkey(9, 1), "TRIMSLOTS": from(8, 4),
		// Scripts and functions may call the server by these names, too, not only redis.
		luaServer: valkeyOnly.inValkey(8, 0),
		luaRedict: {redict: [2]int{7, 3}},
	}
}

// What a server does, rather than what it knows: it cannot be asked for these.
const (
	claimOfDeleted Option = "XCLAIM of a deleted entry"
	luaServer      Option = "FUNCTION that calls server"
	luaRedict      Option = "FUNCTION that calls redict"
)

// oldCommands are those that 6.0 has and that can occur in a replication stream.
func oldCommands() []string {
	return []string{
		"APPEND", "BITFIELD", "BITOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZPOPMAX", "BZPOPMIN", "DECR", "DECRBY", "DEL",
		"DISCARD", "EVAL", "EVALSHA", "EXEC", "EXPIRE", "EXPIREAT", "FLUSHALL", "FLUSHDB", "GEOADD", "GEORADIUS",
		"GEORADIUSBYMEMBER", "GETSET", "HDEL", "HINCRBY", "HINCRBYFLOAT", "HMSET", "HSET", "HSETNX", "INCR", "INCRBY",
		"INCRBYFLOAT", "LINSERT", "LPOP", "LPUSH", "LPUSHX", "LREM", "LSET", "LTRIM", "MOVE", "MSET", "MSETNX", "MULTI",
		"PERSIST", "PEXPIRE", "PEXPIREAT", "PFADD", "PFCOUNT", "PFDEBUG", "PFMERGE", "PING", "PSETEX", "PUBLISH",
		"RENAME", "RENAMENX", "REPLCONF", "RESTORE", "RESTORE-ASKING", "RPOP", "RPOPLPUSH", "RPUSH", "RPUSHX", "SADD",
		"SCRIPT", "SDIFFSTORE", "SELECT", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE", "SINTERSTORE", "SMOVE", "SORT",
		"SPOP", "SREM", "SUNIONSTORE", "SWAPDB", "UNLINK", "XACK", "XADD", "XCLAIM", "XDEL", "XGROUP", "XREADGROUP",
		"XSETID", "XTRIM", "ZADD", "ZINCRBY", "ZINTERSTORE", "ZPOPMAX", "ZPOPMIN", "ZREM", "ZREMRANGEBYLEX",
		"ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZUNIONSTORE",
	}
}
