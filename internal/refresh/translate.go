package refresh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"godwit/internal/rdb"
)

// Translate has Write say values in the words of the server's format where they
// are of another that it does not load. Without it they are written as they are.
func (c *Conn) Translate(to rdb.Format, o rdb.TranscoderOptions) {
	c.writing = translator{
		to: to, options: o, crc: rdb.NewCRC64(), known: make(map[source]*rdb.Transcoder),
	}
}

// translator rewrites payloads for one server.
type translator struct {
	to      rdb.Format
	options rdb.TranscoderOptions
	crc     *rdb.CRC64
	known   map[source]*rdb.Transcoder
	buf     []byte
}

// source is where a payload comes from.
type source struct {
	family  rdb.Family
	version int
}

const (
	// dumpFooter is the size of a payload's footer: a version and a checksum.
	dumpFooter = 2 + 8
	// common is the last version that means the same to every product.
	common = 11
)

// payload is that of a value as the server loads it, nil if it is left out. It is
// valid until the next call.
func (t *translator) payload(v Value) ([]byte, error) {
	if v.Payload == nil || t.known == nil {
		return v.Payload, nil
	}
	if len(v.Payload) <= dumpFooter {
		return nil, errors.New("the payload is cut short")
	}
	from := source{family: v.Family, version: int(binary.LittleEndian.Uint16(v.Payload[len(v.Payload)-dumpFooter:]))}
	if t.loads(from, v.Payload[0]) {
		return v.Payload, nil
	}
	transcoder := t.known[from]
	if transcoder == nil {
		transcoder = rdb.NewTranscoder(rdb.Format{Family: from.family, Version: from.version}, t.to, t.options)
		t.known[from] = transcoder
	}
	var err error
	t.buf, err = transcoder.Dump(t.buf[:0], v.Payload, t.crc)
	var noEqual *rdb.NoEqualError
	switch {
	case err == nil:
		return t.buf, nil
	case !errors.As(err, &noEqual):
		return nil, err
	}
	if slices.Contains(t.options.Drop, noEqual.What) {
		return nil, nil // the whole key is left out
	}
	return nil, &noEqualError{err, noEqual.What}
}

// loads tells whether the server loads a payload as it is. What modules have made
// is looked at by the transcoder, but between servers of one format: what RESTORE
// does not know it refuses.
func (t *translator) loads(from source, code byte) bool {
	switch {
	case from.version == t.to.Version && from.family == t.to.Family:
		return !t.to.Refused.HasType(rdb.Type(code))
	case rdb.Type(code) == rdb.TypeModule2 || rdb.Opcode(code) == rdb.OpcodeKeyMeta:
		return false
	}
	return from.version <= t.to.Version && (from.version <= common || from.family == t.to.Family) &&
		!t.to.Refused.HasType(rdb.Type(code))
}

// noEqualError is a value that the server has no equal for.
type noEqualError struct {
	err  error
	what rdb.Feature
}

func (e *noEqualError) Error() string { return e.err.Error() }
func (e *noEqualError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *noEqualError) HintText() string {
	return fmt.Sprintf("the target cannot hold it: delete it at the source, or leave it out knowingly: --drop %s", e.what)
}
