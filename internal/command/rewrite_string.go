package command

import "strconv"

// setPasses sees a SET without options, and options that the target knows.
func setPasses(r *Rewriter, args [][]byte, total int) bool {
	if total <= 3 {
		return true
	}
	if len(args) < total {
		return false
	}
	for i := 3; i < len(args); i++ {
		switch o := args[i]; {
		case is(o, "PXAT"):
			if !r.target.Has("SET PXAT") {
				return false
			}
			i++
		case isOneOf(o, "NX", "XX", "KEEPTTL"):
		default:
			return false
		}
	}
	return true
}

// set is SET key value [condition] [GET] [KEEPTTL | a time]. Where the target does
// not know all of it, the condition goes: it has held.
func (r *Rewriter) set() (Verdict, error) {
	if len(r.args) < 3 {
		return Pass, nil
	}
	var e expiry
	keep, unknown := false, false
	for i := 3; i < len(r.args); i++ {
		o := r.args[i]
		switch {
		case isOneOf(o, "EX", "PX", "EXAT", "PXAT"):
			if i++; i == len(r.args) || !e.parse(o, r.args[i]) {
				return Pass, r.syntax("malformed time")
			}
			unknown = unknown || e.absolute && !r.target.Has("SET PXAT")
		case is(o, "KEEPTTL"):
			keep = true
		case isOneOf(o, "NX", "XX"):
		case is(o, "GET"):
			unknown = unknown || !r.target.Has("SET GET")
		case isOneOf(o, "IFEQ", "IFNE", "IFDEQ", "IFDNE"):
			i++
			unknown = unknown || r.lacks(string(upper(nil, o)))
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	becomesAbsolute := e.relative() && r.makesAbsolute()
	if !unknown && !becomesAbsolute {
		return Pass, nil
	}
	r.addSet(r.args[1], r.args[2], keep, e)
	return Replace, nil
}

// addSet sets a key, with its expiry in the same command where the target can.
func (r *Rewriter) addSet(key, value []byte, keep bool, e expiry) {
	name := []byte("SET")
	can := r.target.Has("SET PXAT")
	if e.relative() && r.makesAbsolute() {
		e = expiry{given: true, absolute: true, ms: r.now() + e.ms}
	}
	switch {
	case keep:
		r.add(name, key, value, []byte("KEEPTTL"))
	case !e.given:
		r.add(name, key, value)
	case e.relative():
		r.add(name, key, value, []byte("PX"), decimal(e.ms))
	case can:
		r.add(name, key, value, []byte("PXAT"), decimal(e.ms))
	default:
		r.add(name, key, value)
		r.add([]byte("PEXPIREAT"), key, decimal(e.ms))
	}
}

// expiry is a time as commands have it, in milliseconds.
type expiry struct {
	given    bool
	absolute bool // since 1970, else from now on
	ms       int64
}

func (e expiry) relative() bool { return e.given && !e.absolute }

// parse reads EX, PX, EXAT or PXAT and its argument.
func (e *expiry) parse(option, arg []byte) bool {
	n, ok := integer(arg)
	if isOneOf(option, "EX", "EXAT") {
		n *= 1000
	}
	*e = expiry{given: true, absolute: len(option) == len("PXAT"), ms: n}
	return ok
}

// setex is SETEX and PSETEX key time value, which are relative.
func (r *Rewriter) setex() (Verdict, error) {
	if len(r.args) != 4 || !r.target.Has("SET PXAT") && !r.makesAbsolute() {
		return Pass, nil
	}
	option := []byte("EX")
	if r.command == "PSETEX" {
		option = []byte("PX")
	}
	var e expiry
	if !e.parse(option, r.args[2]) {
		return Pass, r.syntax("malformed time")
	}
	r.addSet(r.args[1], r.args[3], false, e)
	return Replace, nil
}

// msetex is MSETEX n key value … [NX | XX] [KEEPTTL | a time].
func (r *Rewriter) msetex() (Verdict, error) {
	if r.target.Has("MSETEX") {
		return Pass, nil
	}
	if len(r.args) < 2 {
		return Pass, r.syntax("too short")
	}
	n, err := strconv.Atoi(string(r.args[1]))
	if err != nil || n < 1 || n > (len(r.args)-2)/2 {
		return Pass, r.syntax("malformed number of keys")
	}
	pairs, options := r.args[2:2+2*n], r.args[2+2*n:]
	var e expiry
	keep := false
	for i := 0; i < len(options); i++ {
		switch o := options[i]; {
		case isOneOf(o, "EX", "PX", "EXAT", "PXAT"):
			if i++; i == len(options) || !e.parse(o, options[i]) {
				return Pass, r.syntax("malformed time")
			}
		case is(o, "KEEPTTL"):
			keep = true
		case isOneOf(o, "NX", "XX"):
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	if !keep && !e.given {
		r.add(append(append(r.list[:0], []byte("MSET")), pairs...)...)
		return Replace, nil
	}
	for i := 0; i < len(pairs); i += 2 {
		r.addSet(pairs[i], pairs[i+1], keep, e)
	}
	return Replace, nil
}

// bitop makes DIFF, DIFF1, ANDOR and ONE (8.2) of AND, OR and XOR, with the
// destination to hold what is between. In all of them X is the first key, and Y
// are the others, combined by OR. A shorter string counts as one with zeros at its
// end everywhere, so lengths come out the same.
func (r *Rewriter) bitop() (Verdict, error) {
	if len(r.args) < 4 || isOneOf(r.args[1], "AND", "OR", "XOR", "NOT") {
		return Pass, nil
	}
	option := string(upper(nil, r.args[1]))
	if _, known := r.target.options[Option("BITOP "+option)]; known && !r.lacks(option) {
		return Pass, nil
	}
	name, dest, x, ys := r.args[0], r.args[2], r.args[3], r.args[4:]
	and, or, xor := []byte("AND"), []byte("OR"), []byte("XOR")
	combine := func(op []byte, keys ...[]byte) {
		r.add(append([][]byte{name, op, dest}, keys...)...)
	}
	scratch := string(dest) != string(x) && len(ys) > 0
	switch {
	case option == "DIFF" && scratch: // X and not Y
		combine(or, ys...)
		combine(and, dest, x)
		combine(xor, dest, x)
	case option == "DIFF1" && scratch: // Y and not X
		combine(or, ys...)
		combine(or, dest, x)
		combine(xor, dest, x)
	case option == "ANDOR" && scratch: // X and Y
		combine(or, ys...)
		combine(and, dest, x)
	case option == "ONE" && len(ys) <= 1: // in one of them only
		combine(xor, r.args[3:]...)
	default:
		return Pass, r.noEqual(printable(r.args[1]))
	}
	return Replace, nil
}
