package rdb

import (
	"encoding/binary"
	"fmt"
)

// dumpFooter is the size of what a DUMP payload ends with: the format's version
// in 16 bits and the checksum of all before it (cluster.c createDumpPayload).
const dumpFooter = 2 + 8

// OpenDump verifies a payload of DUMP or FUNCTION DUMP and takes its footer off.
// The body of DUMP is a type and a value; Redis 8.6 may put OpcodeKeyMeta before
// it. Errors are a *SyntaxError, *ChecksumError or *FormatError.
func OpenDump(payload []byte, c *CRC64) (Format, []byte, error) {
	if len(payload) < dumpFooter+1 {
		return Format{}, nil, &SyntaxError{Offset: int64(len(payload)), Reason: "the payload is cut short"}
	}
	body, footer := payload[:len(payload)-dumpFooter], payload[len(payload)-dumpFooter:]
	want, got := binary.LittleEndian.Uint64(footer[2:]), c.Update(0, payload[:len(payload)-8])
	if want != got {
		return Format{}, nil, &ChecksumError{Want: want, Got: got}
	}
	f, err := FormatOf(int(binary.LittleEndian.Uint16(footer)))
	return f, body, err
}

// AppendDumpFooter makes a payload of dst[start:], which is its body.
func AppendDumpFooter(dst []byte, start int, f Format, c *CRC64) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(f.Version))
	return binary.LittleEndian.AppendUint64(dst, c.Update(0, dst[start:]))
}

// Dump appends a payload as the target's DUMP would make it of one that the
// source's DUMP made. Errors are those of OpenDump and AppendValue.
func (t *Transcoder) Dump(dst, payload []byte, c *CRC64) ([]byte, error) {
	_, body, err := OpenDump(payload, c)
	if err != nil {
		return dst, err
	}
	if Opcode(body[0]) == OpcodeKeyMeta && t.from.HasOpcode(OpcodeKeyMeta, t.from) {
		if body, err = t.withoutMetadata(body); err != nil {
			return dst, err
		}
	}
	start := len(dst)
	dst = append(dst, 0)
	newType, dst, err := t.AppendValue(dst, Type(body[0]), body[1:])
	if err != nil {
		return dst[:start], err
	}
	dst[start] = byte(newType)
	return AppendDumpFooter(dst, start, t.to, c), nil
}

// withoutMetadata takes the metadata of modules off a body, if they may be dropped.
func (t *Transcoder) withoutMetadata(body []byte) ([]byte, error) {
	if err := t.noEqual(FeatureKeyMetadata, ""); err != nil {
		return nil, err
	}
	var w walker
	w.beginPart(layoutMetadata)
	n, done, err := w.walk(body[1:])
	if err != nil || !done || 1+n >= len(body) {
		return nil, &SyntaxError{Offset: int64(1 + n), Reason: fmt.Sprintf("malformed metadata of a key (%v)", err)}
	}
	return body[1+n:], nil
}
