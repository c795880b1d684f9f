package apply

import "context"

// maxArgs is how many arguments a command of a script may have: Lua hands over no more
// than 8,000 at once (luaconf.h LUAI_MAXCSTACK).
const maxArgs = 7000

// groups tells of commands that do the same when their last arguments are divided among
// several: how many come before these, and how many belong together.
func groups(args [][]byte) (before, together int) {
	switch name := args[0]; {
	case is(name, "del"), is(name, "unlink"):
		return 1, 1
	case is(name, "rpush"), is(name, "lpush"), is(name, "sadd"), is(name, "srem"), is(name, "zrem"), is(name, "hdel"), is(name, "pfadd"), is(name, "xdel"):
		return 2, 1
	case is(name, "hset"), is(name, "hmset"), is(name, "mset"):
		return 2 - len(args)%2, 2
	case is(name, "zadd") && len(args)%2 == 0 && len(args[2]) > 0 && (args[2][0] < 'A' || is(args[2], "inf")):
		return 2, 2
	}
	return 0, 0
}

// long gives away a command that has too many arguments: in several if that is the
// same, else by value.
func (d *dispatcher) long(ctx context.Context, of uint16, args [][]byte) error {
	before, together := groups(args)
	if together == 0 {
		return d.effect(ctx, args)
	}
	for rest := args[before:]; len(rest) > 0; {
		n := min(len(rest), maxArgs/together*together-before)
		n -= n % together
		d.piece = d.piece[:0]
		for _, a := range args[:before] {
			d.piece = appendBulk(d.piece, a)
		}
		for _, a := range rest[:n] {
			d.piece = appendBulk(d.piece, a)
		}
		if err := d.one(ctx, of, before+n, d.piece, 0, false); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
