package command

import (
	"slices"
	"strconv"

	"godwit/internal/rdb"
)

// fields finds FIELDS n and what follows it, step arguments for each field, from
// position at on.
func (r *Rewriter) fields(at, step int) (options, fields [][]byte, err error) {
	for i := at; i+1 < len(r.args); i++ {
		if !is(r.args[i], "FIELDS") {
			continue
		}
		n, err := strconv.Atoi(string(r.args[i+1]))
		if err != nil || n < 1 || n != (len(r.args)-i-2)/step || (len(r.args)-i-2)%step != 0 {
			return nil, nil, r.syntax("malformed number of fields")
		}
		return r.args[at:i], r.args[i+2:], nil
	}
	return nil, nil, r.syntax("no FIELDS")
}

// hsetex is HSETEX key [FNX | FXX | NX | XX] [KEEPTTL | a time] FIELDS n field
// value …: HSET, which takes the fields' TTLs away, and their new TTL.
func (r *Rewriter) hsetex() (Verdict, error) {
	if len(r.args) < 2 {
		return Pass, r.syntax("too short")
	}
	options, pairs, err := r.fields(2, 2)
	if err != nil {
		return Pass, err
	}
	var e expiry
	keep, unknown := false, !r.target.Has("HSETEX")
	for i := 0; i < len(options); i++ {
		switch o := options[i]; {
		case isOneOf(o, "EX", "PX", "EXAT", "PXAT"):
			if i++; i == len(options) || !e.parse(o, options[i]) {
				return Pass, r.syntax("malformed time")
			}
		case is(o, "KEEPTTL"):
			keep = true
		case isOneOf(o, "FNX", "FXX", "NX", "XX"):
			unknown = unknown || r.lacks(string(upper(nil, o)))
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	key := r.args[1]
	switch {
	case !unknown:
		return Pass, nil
	case e.relative(): // no server propagates that
		return Pass, r.syntax("a relative time")
	}
	if r.target.Has("HSETEX") { // without the condition
		r.list = append(r.list[:0], r.args[0], key)
		if keep {
			r.list = append(r.list, []byte("KEEPTTL"))
		}
		if e.given {
			r.list = append(r.list, []byte("PXAT"), decimal(e.ms))
		}
		r.list = append(r.list, []byte("FIELDS"), decimal(int64(len(pairs)/2)))
		r.add(append(r.list, pairs...)...)
		return Replace, nil
	}
	canExpire := r.target.Has("HPEXPIREAT")
	if keep && canExpire {
		r.addScript(scriptSetFields, 1, append([][]byte{key}, pairs...)...)
		return Replace, nil
	}
	if e.given && !canExpire {
		if err := r.noFeature(rdb.FeatureHashFieldTTL, "a time"); err != nil {
			return Pass, err
		}
	}
	r.add(append(append(r.list[:0], []byte("HSET"), key), pairs...)...)
	if e.given && canExpire {
		r.list = append(r.list[:0], []byte("HPEXPIREAT"), key, decimal(e.ms), []byte("FIELDS"), decimal(int64(len(pairs)/2)))
		for i := 0; i < len(pairs); i += 2 {
			r.list = append(r.list, pairs[i])
		}
		r.add(r.list...)
	}
	return Replace, nil
}

// hgetdel is HGETDEL key FIELDS n field …, which Valkey propagates as it is.
func (r *Rewriter) hgetdel() (Verdict, error) {
	if r.target.Has("HGETDEL") {
		return Pass, nil
	}
	if len(r.args) < 2 {
		return Pass, r.syntax("too short")
	}
	_, fields, err := r.fields(2, 1)
	if err != nil {
		return Pass, err
	}
	r.add(append(append(r.list[:0], []byte("HDEL"), r.args[1]), fields...)...)
	return Replace, nil
}

// hexpire is H[P]EXPIRE[AT] key time [condition] FIELDS n field ….
func (r *Rewriter) hexpire() (Verdict, error) {
	if r.target.Has(Option(r.command)) {
		return Pass, nil
	}
	return Replace, r.noFeature(rdb.FeatureHashFieldTTL, "")
}

// hpersist needs no equal: no field has a TTL there.
func (r *Rewriter) hpersist() (Verdict, error) {
	if r.target.Has("HPERSIST") {
		return Pass, nil
	}
	return Replace, nil
}

// vectorSet is VADD, VREM and VSETATTR. Where those of the source do not load and
// are left out of the copy, a target that has the commands would make sets of what
// is added from now on.
func (r *Rewriter) vectorSet() (Verdict, error) {
	left := r.drop[rdb.FeatureVectorSet] && slices.Contains(r.target.Format.Lacks(r.source.Format), rdb.FeatureVectorSet)
	if r.target.Has(Option(r.command)) && !left {
		return Pass, nil
	}
	return Replace, r.noFeature(rdb.FeatureVectorSet, "")
}
