package digest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"godwit/internal/digest"
	"godwit/internal/rdb"
)

// repeated is a reader of what is repeated so many times, between a beginning and
// an end.
type repeated struct {
	head, body, tail []byte
	times            int
}

func (r *repeated) Read(p []byte) (int, error) {
	for len(r.head) == 0 {
		switch {
		case r.times > 0:
			r.times--
			r.head = r.body
		case len(r.tail) > 0:
			r.head, r.tail = r.tail, nil
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

func length(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x81}, n) }

// However large a value is, and in whichever way it is saved, it takes no more
// memory than the buffers.
func TestLargeValuesTakeNoMemory(t *testing.T) {
	const mb = 1 << 20
	chunk := bytes.Repeat([]byte("0123456789abcdef"), mb/16)
	eof := make([]byte, 9) // without a checksum
	eof[0] = byte(rdb.OpcodeEOF)
	head := func(t rdb.Type, parts ...[]byte) []byte {
		return append([]byte("REDIS0013"+string(rune(t))+"\x03key"), bytes.Join(parts, nil)...)
	}
	// An LZF string of which each step of 3 bytes makes 264: 9 literal bytes first.
	const steps = 1 << 18
	lzf := func(want uint64) []byte {
		return bytes.Join([][]byte{{0xc3}, length(10 + 3*steps), length(want), {8}, []byte("012345678")}, nil)
	}
	// A listpack of entries of 6 bytes.
	entries := bytes.Repeat([]byte("\x84abcd\x05"), mb/8)
	listpack := func(times int) []byte {
		size := uint64(6 + times*len(entries) + 1)
		return append(append(length(size), binary.LittleEndian.AppendUint32(nil, uint32(size))...), 0xff, 0xff)
	}
	var integers []byte
	for i := range 1 << 20 {
		integers = binary.LittleEndian.AppendUint64(integers, uint64(i))
	}
	for name, snapshot := range map[string]*repeated{
		"string":   {head: head(rdb.TypeString, length(200*mb)), body: chunk, times: 200, tail: eof},
		"LZF":      {head: head(rdb.TypeString, lzf(9+264*steps)), body: bytes.Repeat([]byte("\xe0\xff\x08"), 1<<10), times: steps >> 10, tail: eof},
		"set":      {head: head(rdb.TypeSet, length(10<<20)), body: bytes.Repeat([]byte("\x06member"), 1<<16), times: 160, tail: eof},
		"listpack": {head: head(rdb.TypeSetListpack, listpack(100)), body: entries, times: 100, tail: append([]byte{0xff}, eof...)},
		"intset": {
			head: head(rdb.TypeSetIntset, length(8+8<<20), []byte("\x08\x00\x00\x00\x00\x00\x10\x00")), body: integers, times: 1, tail: eof,
		},
		"module": {head: head(rdb.TypeModule2, length(0x40_0000_0000_0401)), body: bytes.Repeat([]byte("\x02\x07\x05\x03abc"), 1<<16), times: 100, tail: append([]byte{0}, eof...)},
		"stream": {head: head(rdb.TypeStreamListpacks, length(0), length(0), length(0), length(0), length(1), []byte("\x05group"), length(0), length(0), length(100<<14)),
			body: bytes.Repeat(append(make([]byte, 24), 1), 1<<14), times: 100, tail: append([]byte{0}, eof...)},
	} {
		t.Run(name, func(t *testing.T) {
			o := digest.Options{Seed: seed}
			before := allocated()
			_, size, err := total(digest.NewSnapshot(snapshot, o), o)
			const most = 2 << 20
			if n := allocated() - before; !errors.Is(err, io.EOF) || n > most || size < 100 {
				t.Errorf("%d bytes, %d allocated, %v", size, n, err)
			}
		})
	}
}
