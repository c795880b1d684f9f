package command

import "strconv"

// zaddOptions are the option words of ZADD key [options] score member ….
func zaddOptions(args [][]byte) [][]byte {
	n := min(2, len(args))
	for n < len(args) && isOneOf(args[n], "NX", "XX", "GT", "LT", "CH", "INCR") {
		n++
	}
	return args[min(2, len(args)):n]
}

// zaddPasses sees a ZADD without GT and LT. Its options end at the first score.
func zaddPasses(r *Rewriter, args [][]byte, total int) bool {
	options := zaddOptions(args)
	if len(args) < total && len(options)+2 >= len(args) {
		return false // there may be more of them
	}
	for _, o := range options {
		if isOneOf(o, "GT", "LT") && !r.target.Has("ZADD GT") {
			return false
		}
	}
	return true
}

// zadd is a ZADD with GT or LT that the target does not know. With one member the
// condition has held; with more it has held for at least one.
func (r *Rewriter) zadd() (Verdict, error) {
	options := zaddOptions(r.args)
	members := r.args[2+len(options):]
	if len(members) == 0 || len(members)%2 != 0 {
		return Pass, r.syntax("malformed members")
	}
	condition := []byte(nil)
	r.list = append(r.list[:0], r.args[:2]...)
	exists := []byte("")
	for _, o := range options {
		switch {
		case isOneOf(o, "GT", "LT"):
			condition = upper(nil, o)
		case is(o, "XX"):
			exists = []byte("XX")
			r.list = append(r.list, o)
		default:
			r.list = append(r.list, o)
		}
	}
	if len(members) == 2 {
		r.add(append(r.list, members...)...)
		return Replace, nil
	}
	r.addScript(scriptAddScores, 1, append([][]byte{r.args[1], condition, exists}, members...)...)
	return Replace, nil
}

// zcombine is ZUNIONSTORE and ZINTERSTORE, of which only the options are looked at.
func (r *Rewriter) zcombine() (Verdict, error) {
	if len(r.args) < 4 {
		return Pass, nil
	}
	n, err := strconv.Atoi(string(r.args[2]))
	if err != nil || n < 1 || n > len(r.args)-3 {
		return Pass, r.syntax("malformed number of keys")
	}
	for i := 3 + n; i < len(r.args); i++ {
		switch o := r.args[i]; {
		case is(o, "WEIGHTS"):
			i += n
		case is(o, "AGGREGATE") && i+1 < len(r.args) && isOneOf(r.args[i+1], "SUM", "MIN", "MAX"):
			i++
		default:
			if is(o, "AGGREGATE") && i+1 < len(r.args) {
				o = r.args[i+1]
			}
			return Pass, r.noEqual(printable(o))
		}
	}
	return Pass, nil
}

// zdiffstore is ZDIFFSTORE destination n key ….
func (r *Rewriter) zdiffstore() (Verdict, error) {
	if r.target.Has("ZDIFFSTORE") {
		return Pass, nil
	}
	if len(r.args) < 4 {
		return Pass, r.syntax("too short")
	}
	n, err := strconv.Atoi(string(r.args[2]))
	if err != nil || n != len(r.args)-3 {
		return Pass, r.syntax("malformed number of keys")
	}
	r.addScript(scriptSubtract, n+1, append([][]byte{r.args[1]}, r.args[3:]...)...)
	return Replace, nil
}

// zrangestore is ZRANGESTORE destination source min max [BYSCORE | BYLEX] [REV]
// [LIMIT offset count].
func (r *Rewriter) zrangestore() (Verdict, error) {
	if r.target.Has("ZRANGESTORE") {
		return Pass, nil
	}
	if len(r.args) < 5 {
		return Pass, r.syntax("too short")
	}
	by, rev := "", ""
	limit := [][]byte(nil)
	for i := 5; i < len(r.args); i++ {
		switch o := r.args[i]; {
		case is(o, "BYSCORE"), is(o, "BYLEX"):
			by = string(upper(nil, o))
		case is(o, "REV"):
			rev = "REV"
		case is(o, "LIMIT") && i+2 < len(r.args):
			limit = r.args[i : i+3]
			i += 2
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	command := "Z" + rev + "RANGE" + by
	args := append([][]byte{r.args[1], r.args[2], []byte(command), r.args[3], r.args[4]}, limit...)
	r.addScript(scriptStoreRange, 2, args...)
	return Replace, nil
}
