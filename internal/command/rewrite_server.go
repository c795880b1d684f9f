package command

import (
	"bytes"
	"encoding/binary"

	"godwit/internal/rdb"
)

func (r *Rewriter) beginTransaction() (Verdict, error) {
	r.multi = true
	return Pass, nil
}

// SaysExecAlone tells whether a server propagates EXEC without MULTI: Redis 6.0 does
// for a transaction whose only write is a PFCOUNT, which stores what it has counted
// (multi.c execCommand says MULTI only before a command that is flagged as a write).
// A replica would answer it with an error, and counts that as unexpected.
func SaysExecAlone(v Version) bool { return v.Product == rdb.Redis && !v.AtLeast(6, 2) }

// endTransaction is EXEC, also where no MULTI came before.
func (r *Rewriter) endTransaction() (Verdict, error) {
	if !r.multi {
		return Replace, nil
	}
	r.multi = false
	return Pass, nil
}

// flush is FLUSHALL and FLUSHDB [ASYNC | SYNC].
func (r *Rewriter) flush() (Verdict, error) {
	if len(r.args) < 2 || is(r.args[1], "ASYNC") || is(r.args[1], "SYNC") && !r.lacks("SYNC") {
		return Pass, nil
	}
	if !is(r.args[1], "SYNC") {
		return Pass, r.noEqual(printable(r.args[1]))
	}
	r.add(r.args[0]) // SYNC is what they did before there was a word for it
	return Replace, nil
}

// script is SCRIPT LOAD and FLUSH, which Redis propagates before 7.0.
func (r *Rewriter) script() (Verdict, error) {
	if len(r.args) == 3 && is(r.args[1], "FLUSH") && r.lacks("FLUSH "+string(upper(nil, r.args[2]))) {
		r.add(r.args[:2]...)
		return Replace, nil
	}
	return r.subcommand()
}

// subcommand sees that the target knows the subcommand.
func (r *Rewriter) subcommand() (Verdict, error) {
	if len(r.args) > 1 {
		if sub := string(upper(nil, r.args[1])); !r.target.hasSubcommand(r.command, sub) {
			return Pass, r.noEqual(printable(r.args[1]))
		}
	}
	return Pass, nil
}

// spublish is SPUBLISH. Where there are no shard channels, nobody listens to one.
func (r *Rewriter) spublish() (Verdict, error) {
	if r.target.Has("SPUBLISH") {
		return Pass, nil
	}
	return Replace, nil
}

// function is FUNCTION LOAD [REPLACE] code, DELETE name, FLUSH, RESTORE payload.
func (r *Rewriter) function() (Verdict, error) {
	if !r.target.Has("FUNCTION") {
		return Replace, r.noFeature(rdb.FeatureFunction, "")
	}
	if len(r.args) < 3 {
		return r.subcommand()
	}
	switch sub := r.args[1]; {
	case is(sub, "LOAD"):
		// The library would not load, and its old version would stay.
		code := r.args[len(r.args)-1]
		for o, name := range map[Option]string{luaServer: "server.", luaRedict: "redict."} {
			if r.source.Has(o) && !r.target.Has(o) && bytes.Contains(code, []byte(name)) {
				return Replace, r.noFeature(rdb.FeatureFunction, name+"*")
			}
		}
	case is(sub, "RESTORE"):
		return r.functionRestore()
	}
	return r.subcommand()
}

// functionRestore gives the payload the footer of a format that the target loads.
// The libraries in it are the same in all formats.
func (r *Rewriter) functionRestore() (Verdict, error) {
	payload, target := r.args[2], r.target.Format
	if len(payload) < dumpFooter {
		return Pass, r.syntax("malformed payload")
	}
	body := payload[:len(payload)-dumpFooter]
	version := int(binary.LittleEndian.Uint16(payload[len(body):]))
	if version <= target.Version && (version <= commonVersion || target.Family == r.source.Format.Family) {
		return Pass, nil
	}
	r.payload = rdb.AppendDumpFooter(append(r.payload[:0], body...), 0, target, r.crc)
	r.list = append(r.list[:0], r.args...)
	r.list[2] = r.payload
	r.add(r.list...)
	return Replace, nil
}
