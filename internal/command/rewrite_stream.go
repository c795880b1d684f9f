package command

import (
	"bytes"
	"strconv"

	"godwit/internal/rdb"
)

// streamAdd is what XADD says before the ID of the new entry, and XTRIM after the
// key: key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer | IDMP
// producer id] [MAXLEN | MINID [= | ~] threshold [LIMIT n]].
type streamAdd struct {
	noCreate bool
	strategy string // MAXLEN, MINID or empty
	operator []byte // = or ~, nil if it is not said
	limit    []byte // nil if there is none
	about    []byte // the threshold
	ref      string // KEEPREF, DELREF, ACKED or empty
	idmp     string // IDMP, IDMPAUTO or empty
	next     int    // the argument after all of it
	unknown  []byte // an option that this package does not know
}

// parse reads options from position 2 on. An XADD's end at its ID, which begins
// with a digit in a replication stream.
func (s *streamAdd) parse(args [][]byte) {
	*s = streamAdd{next: 2}
	take := func(n int) []byte {
		s.next = min(s.next+n, len(args))
		return args[s.next-1]
	}
	for s.next < len(args) {
		o := args[s.next]
		if len(o) == 0 || '0' <= o[0] && o[0] <= '9' {
			return
		}
		switch {
		case is(o, "NOMKSTREAM"):
			s.noCreate = true
		case isOneOf(o, "MAXLEN", "MINID"):
			s.strategy = "MAXLEN"
			if is(o, "MINID") {
				s.strategy = "MINID"
			}
			if s.about = take(2); len(s.about) == 1 && (s.about[0] == '=' || s.about[0] == '~') {
				s.operator, s.about = s.about, take(1)
			}
			continue
		case is(o, "LIMIT"):
			s.limit = take(2)
			continue
		case is(o, "KEEPREF"):
			s.ref = "KEEPREF"
		case is(o, "DELREF"):
			s.ref = "DELREF"
		case is(o, "ACKED"):
			s.ref = "ACKED"
		case is(o, "IDMP"):
			s.idmp = "IDMP"
			take(3)
			continue
		case is(o, "IDMPAUTO"):
			s.idmp = "IDMPAUTO"
			take(2)
			continue
		default:
			s.unknown = o
			return
		}
		s.next++
	}
}

// taken tells whether the target knows every option, of XADD or XTRIM, and takes
// them from us.
func (s *streamAdd) taken(r *Rewriter, name string) bool {
	has := func(option string) bool { return r.target.Has(Option(name + " " + option)) }
	return s.unknown == nil && (!s.noCreate || r.target.Has("XADD NOMKSTREAM")) &&
		(s.strategy != "MINID" || has("MINID")) && (s.limit == nil || has("LIMIT")) &&
		(s.ref == "" || has(s.ref)) && (s.idmp == "" || has(s.idmp)) &&
		(!r.client || !s.ofPrimary())
}

// ofPrimary tells of what only a primary says: a LIMIT beside the exact length that
// has come of ~, and IDMP beside the ID that was generated (t_stream.c
// streamParseAddOrTrimArgsOrReply).
func (s *streamAdd) ofPrimary() bool {
	return s.limit != nil && (len(s.operator) != 1 || s.operator[0] != '~') || s.idmp != ""
}

// xaddPasses sees an XADD whose options the target knows.
func xaddPasses(r *Rewriter, args [][]byte, total int) bool {
	if len(args) > 2 && len(args[2]) > 0 && '0' <= args[2][0] && args[2][0] <= '9' {
		return true // no options
	}
	var s streamAdd
	s.parse(args)
	return (len(args) == total || s.next < len(args)) && s.taken(r, "XADD")
}

// xadd is an XADD with something that the target does not know.
func (r *Rewriter) xadd() (Verdict, error) {
	var s streamAdd
	s.parse(r.args)
	if s.unknown != nil {
		return Pass, r.noEqual(printable(s.unknown))
	}
	if s.next+2 >= len(r.args) {
		return Pass, r.syntax("too short")
	}
	if s.idmp != "" && r.lacks(s.idmp) {
		if err := r.noFeature(rdb.FeatureStreamIDMP, s.idmp); err != nil {
			return Pass, err
		}
	}
	if s.idmp != "" && r.client && !r.lacks(s.idmp) {
		return Pass, &NoEqualError{
			Command: r.command, Option: s.idmp, DB: r.db, Key: r.key(), Target: r.target.Version,
			Reason: "takes it with an ID from its primary only",
		}
	}
	scripted := r.scriptsTrim(&s)
	r.list = append(r.list[:0], r.args[:2]...)
	if !scripted {
		r.list = r.appendTrim(r.list, &s)
	}
	r.add(append(r.list, r.args[s.next:]...)...)
	if scripted {
		r.addScript(scriptTrim, 1, r.args[1], []byte(s.strategy), s.about, []byte(s.ref))
	}
	return Replace, nil
}

// xtrim is XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT n] [KEEPREF | DELREF | ACKED].
func (r *Rewriter) xtrim() (Verdict, error) {
	var s streamAdd
	s.parse(r.args)
	switch {
	case s.unknown != nil:
		return Pass, r.noEqual(printable(s.unknown))
	case s.taken(r, "XTRIM"):
		return Pass, nil
	case s.strategy == "":
		return Pass, r.syntax("no strategy")
	case r.scriptsTrim(&s):
		r.addScript(scriptTrim, 1, r.args[1], []byte(s.strategy), s.about, []byte(s.ref))
	default:
		r.list = append(r.list[:0], r.args[:2]...)
		r.add(r.appendTrim(r.list, &s)...)
	}
	return Replace, nil
}

// scriptsTrim tells whether it takes a script to trim as s says.
func (r *Rewriter) scriptsTrim(s *streamAdd) bool {
	return s.strategy != "" && (s.strategy == "MINID" && r.lacks("MINID") || s.ref != "" && s.ref != "KEEPREF" && r.lacks(s.ref))
}

// appendTrim appends a strategy that the target knows. There is a LIMIT in a
// replication stream only beside the very length that has come of it.
func (r *Rewriter) appendTrim(list [][]byte, s *streamAdd) [][]byte {
	if s.strategy == "" {
		return list
	}
	list = append(list, []byte(s.strategy))
	if s.operator != nil {
		list = append(list, s.operator)
	}
	list = append(list, s.about)
	if s.ref != "" && !r.lacks(s.ref) {
		list = append(list, []byte(s.ref))
	}
	return list
}

// xsetid is XSETID key id [ENTRIESADDED n] [MAXDELETEDID id]. A server that does
// not know these has no such counters.
func (r *Rewriter) xsetid() (Verdict, error) {
	if len(r.args) <= 3 || !r.lacks("ENTRIESADDED") {
		return Pass, nil
	}
	r.add(r.args[:3]...)
	return Replace, nil
}

// xgroup is XGROUP CREATE key group id [MKSTREAM] [ENTRIESREAD n], SETID key group
// id [ENTRIESREAD n], CREATECONSUMER key group consumer, and others as old as it.
func (r *Rewriter) xgroup() (Verdict, error) {
	if len(r.args) < 5 {
		return r.subcommand()
	}
	switch sub := r.args[1]; {
	case isOneOf(sub, "CREATE", "SETID"):
		if !r.lacks("ENTRIESREAD") {
			return Pass, nil
		}
		r.list = append(r.list[:0], r.args[:5]...)
		for i := 5; i < len(r.args); i++ {
			if is(r.args[i], "ENTRIESREAD") {
				i++
				continue
			}
			r.list = append(r.list, r.args[i])
		}
		if len(r.list) == len(r.args) {
			return Pass, nil
		}
		r.add(r.list...)
		return Replace, nil
	case is(sub, "CREATECONSUMER") && r.lacks("CREATECONSUMER"):
		// Reading its own messages, of which it has none, makes a consumer too.
		r.add([]byte("XREADGROUP"), []byte("GROUP"), r.args[3], r.args[4], []byte("COUNT"), []byte("1"),
			[]byte("STREAMS"), r.args[2], []byte("0"))
		return Replace, nil
	}
	return r.subcommand()
}

// xclaim is XCLAIM key group consumer 0 id TIME … FORCE JUSTID LASTID id. From 7.0
// on it is also what is propagated when a message turns out to have been deleted,
// and takes it off the pending ones; before, it would be pending for ever.
func (r *Rewriter) xclaim() (Verdict, error) {
	if r.target.Has(claimOfDeleted) || !r.source.Has(claimOfDeleted) {
		return Pass, nil
	}
	if len(r.args) < 6 {
		return Pass, r.syntax("too short")
	}
	r.addScript(scriptClaim, 1, r.args[1:]...)
	return Replace, nil
}

// ids finds IDS n id …, and what is said of references, from position at on.
func (r *Rewriter) ids(at int) (ref []byte, ids [][]byte, err error) {
	ref = []byte("KEEPREF")
	for i := at; i+1 < len(r.args); i++ {
		switch o := r.args[i]; {
		case isOneOf(o, "KEEPREF", "DELREF", "ACKED"):
			ref = upper(nil, o)
		case is(o, "IDS"):
			n, err := strconv.Atoi(string(r.args[i+1]))
			if err != nil || n != len(r.args)-i-2 {
				return nil, nil, r.syntax("malformed number of IDs")
			}
			return ref, r.args[i+2:], nil
		default:
			return nil, nil, r.noEqual(printable(o))
		}
	}
	return nil, nil, r.syntax("no IDS")
}

// xdelex is XDELEX key [KEEPREF | DELREF | ACKED] IDS n id ….
func (r *Rewriter) xdelex() (Verdict, error) {
	if r.target.Has("XDELEX") {
		return Pass, nil
	}
	ref, ids, err := r.ids(2)
	if err != nil {
		return Pass, err
	}
	if bytes.Equal(ref, []byte("KEEPREF")) {
		r.add(append(append(r.list[:0], []byte("XDEL"), r.args[1]), ids...)...)
		return Replace, nil
	}
	r.addScript(scriptDelete, 1, append([][]byte{r.args[1], nil, ref}, ids...)...)
	return Replace, nil
}

// xackdel is XACKDEL key group [KEEPREF | DELREF | ACKED] IDS n id ….
func (r *Rewriter) xackdel() (Verdict, error) {
	if r.target.Has("XACKDEL") {
		return Pass, nil
	}
	if len(r.args) < 3 {
		return Pass, r.syntax("too short")
	}
	ref, ids, err := r.ids(3)
	if err != nil {
		return Pass, err
	}
	r.addScript(scriptDelete, 1, append([][]byte{r.args[1], r.args[2], ref}, ids...)...)
	return Replace, nil
}

// idmp is XCFGSET and XIDMPRECORD.
func (r *Rewriter) idmp() (Verdict, error) {
	if r.target.Has(Option(r.command)) {
		return Pass, nil
	}
	return Replace, r.noFeature(rdb.FeatureStreamIDMP, "")
}
