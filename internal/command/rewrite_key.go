package command

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"godwit/internal/rdb"
)

// del is DELEX and DELIFEQ: a condition has held.
func (r *Rewriter) del() (Verdict, error) {
	if r.target.Has(Option(r.command)) {
		return Pass, nil
	}
	if len(r.args) < 2 {
		return Pass, r.syntax("too short")
	}
	r.add([]byte("DEL"), r.args[1])
	return Replace, nil
}

// expire is [P]EXPIRE[AT] key time [NX | XX | GT | LT].
func (r *Rewriter) expire() (Verdict, error) {
	if len(r.args) < 3 {
		return Pass, nil
	}
	name, key, at := r.args[0], r.args[1], r.args[2]
	for _, o := range r.args[3:] {
		if !isOneOf(o, "NX", "XX", "GT", "LT") {
			return Pass, r.noEqual(printable(o))
		}
	}
	if isOneOf(name, "EXPIRE", "PEXPIRE") && r.makesAbsolute() {
		var e expiry
		option := []byte("EX")
		if is(name, "PEXPIRE") {
			option = []byte("PX")
		}
		if !e.parse(option, at) {
			return Pass, r.syntax("malformed time")
		}
		r.add([]byte("PEXPIREAT"), key, decimal(r.now()+e.ms))
		return Replace, nil
	}
	if len(r.args) == 3 || r.target.Has("EXPIRE NX") {
		return Pass, nil
	}
	r.add(name, key, at)
	return Replace, nil
}

// inRange tells whether the target has a db.
func (r *Rewriter) inRange(db []byte) bool {
	n, err := strconv.Atoi(string(db))
	return err == nil && n >= 0 && (r.target.Databases == 0 || n < r.target.Databases)
}

// selectDB does not let the target stay in the db it was in, and write there.
func (r *Rewriter) selectDB() (Verdict, error) {
	if len(r.args) != 2 {
		return Pass, nil
	}
	if !r.inRange(r.args[1]) {
		return Pass, r.noEqual(printable(r.args[1]))
	}
	n, _ := integer(r.args[1])
	r.db = int(n)
	return Pass, nil
}

func (r *Rewriter) move() (Verdict, error) {
	if len(r.args) == 3 && !r.inRange(r.args[2]) {
		return Pass, r.noEqual(printable(r.args[2]))
	}
	return Pass, nil
}

func (r *Rewriter) swapDB() (Verdict, error) {
	for _, db := range r.args[1:] {
		if !r.inRange(db) {
			return Pass, r.noEqual(printable(db))
		}
	}
	return Pass, nil
}

// copyKey is COPY source destination [DB db] [REPLACE].
func (r *Rewriter) copyKey() (Verdict, error) {
	db := r.db
	for i := 3; i < len(r.args); i++ {
		switch o := r.args[i]; {
		case is(o, "DB") && i+1 < len(r.args):
			if i++; !r.inRange(r.args[i]) {
				return Pass, r.noEqual("DB " + printable(r.args[i]))
			}
			n, _ := integer(r.args[i])
			db = int(n)
		case is(o, "REPLACE"):
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	if r.target.Has("COPY") {
		return Pass, nil
	}
	if len(r.args) < 3 {
		return Pass, r.syntax("too short")
	}
	r.addScript(scriptCopy, 2, r.args[1], r.args[2], decimal(int64(db)), decimal(int64(r.db)))
	return Replace, nil
}

// dumpFooter is the size of a payload's footer: version and checksum.
const dumpFooter = 2 + 8

// restore is RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n],
// with a payload that the target loads.
func (r *Rewriter) restore() (Verdict, error) {
	if len(r.args) < 4 {
		return Pass, r.syntax("too short")
	}
	payload := r.args[3]
	if len(payload) <= dumpFooter {
		return Pass, r.syntax("malformed payload")
	}
	absolute := false
	for i := 4; i < len(r.args); i++ {
		switch o := r.args[i]; {
		case is(o, "ABSTTL"):
			absolute = true
		case is(o, "REPLACE"):
		case isOneOf(o, "IDLETIME", "FREQ"):
			i++
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	ttl, ok := integer(r.args[2])
	if !ok {
		return Pass, r.syntax("malformed TTL")
	}
	relative := ttl > 0 && !absolute && r.makesAbsolute()
	loads := r.loads(payload)
	if loads && !relative {
		return Pass, nil
	}
	if !loads {
		var err error
		if r.payload, err = r.transcode(r.payload[:0], payload); err != nil {
			return r.withoutKey(err)
		}
		payload = r.payload
	}
	r.list = append(r.list[:0], r.args...)
	r.list[3] = payload
	if relative {
		r.list[2] = decimal(r.now() + ttl)
		r.list = append(r.list, []byte("ABSTTL"))
	}
	r.add(r.list...)
	return Replace, nil
}

// withoutKey drops a key as a whole, if its payload may be dropped: what it would
// have replaced is gone.
func (r *Rewriter) withoutKey(err error) (Verdict, error) {
	var noEqual *rdb.NoEqualError
	if !errors.As(err, &noEqual) {
		return Pass, fmt.Errorf("%s of db %d, key %.100q: %w", r.command, r.db, r.key(), err)
	}
	if err := r.noFeature(noEqual.What, noEqual.Detail); err != nil {
		return Pass, err
	}
	r.add([]byte("DEL"), r.args[1])
	return Replace, nil
}

// loads tells whether the target loads a payload as it is: of its own format or
// one before it, of a type that it does not refuse, and with no module's data in it.
func (r *Rewriter) loads(payload []byte) bool {
	version := int(binary.LittleEndian.Uint16(payload[len(payload)-dumpFooter:]))
	target := r.target.Format
	return version <= target.Version && (version <= commonVersion || target.Family == r.source.Format.Family) &&
		!target.Refused.HasType(rdb.Type(payload[0])) && rdb.Type(payload[0]) != rdb.TypeModule2 && rdb.Opcode(payload[0]) != rdb.OpcodeKeyMeta
}

// commonVersion is the last format that means the same to every product.
const commonVersion = 11

// transcode appends a payload for the target.
func (r *Rewriter) transcode(dst, payload []byte) ([]byte, error) {
	version := int(binary.LittleEndian.Uint16(payload[len(payload)-dumpFooter:]))
	t, ok := r.transcoders[version]
	if !ok {
		t = rdb.NewTranscoder(rdb.Format{Family: r.source.Format.Family, Version: version}, r.target.Format, r.transcoding)
		r.transcoders[version] = t
	}
	return t.Dump(dst, payload, r.crc)
}
