package command

// pop is LPOP and RPOP key [count]. With a count (6.2) it is what LTRIM does.
func (r *Rewriter) pop() (Verdict, error) {
	if len(r.args) < 3 || !r.lacks("count") {
		return Pass, nil
	}
	n, ok := integer(r.args[2])
	if !ok || n < 0 {
		return Pass, r.syntax("malformed count")
	}
	first, last := n, int64(-1)
	if r.command == "RPOP" {
		first, last = 0, -n-1
	}
	r.add([]byte("LTRIM"), r.args[1], decimal(first), decimal(last))
	return Replace, nil
}

// lmove is LMOVE source destination LEFT|RIGHT LEFT|RIGHT.
func (r *Rewriter) lmove() (Verdict, error) {
	if r.target.Has("LMOVE") {
		return Pass, nil
	}
	if len(r.args) != 5 {
		return Pass, r.syntax("malformed")
	}
	from, to := r.args[3], r.args[4]
	if is(from, "RIGHT") && is(to, "LEFT") {
		r.add([]byte("RPOPLPUSH"), r.args[1], r.args[2])
		return Replace, nil
	}
	pop, push := []byte("LPOP"), []byte("LPUSH")
	if is(from, "RIGHT") {
		pop = []byte("RPOP")
	}
	if is(to, "RIGHT") {
		push = []byte("RPUSH")
	}
	r.addScript(scriptMove, 2, r.args[1], r.args[2], pop, push)
	return Replace, nil
}
