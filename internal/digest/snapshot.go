package digest

import (
	"bytes"
	"io"
	"math"
	"strconv"

	"godwit/internal/rdb"
)

// Snapshot reads a snapshot key by key, in a few hundred kilobytes of memory
// whatever comes, but for the name of a key.
type Snapshot struct {
	d      digester
	r      *rdb.Reader
	format rdb.Format
	known  *[256]bool // types that the format has
	entry  Entry
	key    []byte
	db     int
	aux    map[string]string
	ended  bool
}

// NewSnapshot prepares to read a snapshot from r, more than it has if more comes.
func NewSnapshot(r io.Reader, o Options) *Snapshot {
	return &Snapshot{d: newDigester(o), r: rdb.NewReader(r, rdb.NewCRC64(), 0), aux: make(map[string]string)}
}

// Format is what the header said; the zero value before Next has returned.
func (s *Snapshot) Format() rdb.Format { return s.format }

// Aux is what the snapshot says of itself under that name (rdb.c
// rdbSaveInfoAuxFields), as far as it has been read: all of it with the first key.
// "" if it does not.
func (s *Snapshot) Aux(name string) string { return s.aux[name] }

// Offset is how many bytes have been gone through.
func (s *Snapshot) Offset() int64 { return s.r.Offset() }

// Next returns the next key, or function library, that counts; io.EOF after the
// last one, if the checksum is right. Other errors are a *rdb.FormatError,
// *rdb.SyntaxError, *rdb.ChecksumError or *rdb.ReadError, and final. The entry is
// valid until the next call.
func (s *Snapshot) Next() (*Entry, error) {
	if s.known == nil && s.r.Err() == nil {
		s.header()
	}
	for s.r.Err() == nil && !s.ended {
		if s.element() {
			return &s.entry, nil
		}
	}
	if err := s.r.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

func (s *Snapshot) header() {
	s.format = s.r.Header()
	s.known = new([256]bool)
	for code := range s.known {
		t := rdb.Type(code)
		s.known[code] = t.Kind() != 0 && s.format.HasType(t, s.format)
	}
}

// element reads the next element, and tells whether it is an entry that counts.
func (s *Snapshot) element() bool {
	r := s.r
	start := r.Offset()
	e := &s.entry
	e.ExpireAt = rdb.None
	metadata := uint64(0)
	for {
		code := r.Byte()
		if s.known[code] {
			return s.keyOf(rdb.Type(code), start, metadata)
		}
		switch rdb.Opcode(code) {
		case rdb.OpcodeExpireTimeMS:
			e.ExpireAt = int64(r.Uint64())
		case rdb.OpcodeExpireTime:
			e.ExpireAt = 1000 * r.Signed(4)
		case rdb.OpcodeIdle:
			r.Length()
		case rdb.OpcodeFreq:
			r.Byte()
		case rdb.OpcodeKeyMeta:
			if !hasMetadata(s.format) { // another family's opcode
				r.Skip(s.format, code)
				return false
			}
			metadata = s.d.readMetadata(r)
		case rdb.OpcodeSelectDB:
			s.db = int(min(r.Length(), math.MaxInt32))
			return false
		case rdb.OpcodeAux:
			s.readAux()
			return false
		case rdb.OpcodeFunction2:
			return s.function(start)
		case rdb.OpcodeEOF:
			r.Checksum()
			s.ended = true
			return false
		default:
			r.Skip(s.format, code)
			return false
		}
		if r.Err() != nil {
			return false
		}
	}
}

// hasMetadata tells whether OpcodeKeyMeta is that in the format.
func hasMetadata(f rdb.Format) bool {
	return f.HasOpcode(rdb.OpcodeKeyMeta, rdb.Format{Family: rdb.Redis, Version: 13})
}

// keyOf reads a key and its value.
func (s *Snapshot) keyOf(t rdb.Type, start int64, metadata uint64) bool {
	e := &s.entry
	s.readKey()
	s.d.read(s.r, s.format, t)
	e.DB, e.Key, e.Value = s.db, s.key, s.d.value()
	e.Sum += metadata
	e.Size = s.r.Offset() - start
	return s.r.Err() == nil && s.d.counts(e.Type)
}

// keptKey is the size up to which the buffer for names is kept.
const keptKey = 64 << 10

func (s *Snapshot) readKey() {
	if cap(s.key) > keptKey {
		s.key = nil
	}
	t := s.r.String()
	if t.IsInt {
		s.key = strconv.AppendInt(s.key[:0], t.Integer, 10)
		return
	}
	s.key = append(s.key[:0], t.Bytes...)
	if t.Large() {
		for p := t.Next(); len(p) > 0; p = t.Next() {
			s.key = append(s.key, p...)
		}
	}
}

// maxAux is the largest value, and the largest number of them, that is kept of
// what a snapshot says of itself. Up to Redis 6.2 there are scripts among it.
const maxAux = 256

func (s *Snapshot) readAux() {
	name := s.short(s.r.String())
	value := s.short(s.r.String())
	if name != "" && len(s.aux) < maxAux && s.r.Err() == nil {
		s.aux[name] = value
	}
}

// short is a text of up to maxAux bytes, "" for a longer one.
func (s *Snapshot) short(t rdb.Text) string {
	switch {
	case t.IsInt:
		return strconv.FormatInt(t.Integer, 10)
	case t.Large():
		s.d.hash(t)
		return ""
	case len(t.Bytes) > maxAux:
		return ""
	default:
		return string(t.Bytes)
	}
}

// function reads a library. Its name is in the first line: "#!lua name=mylib"
// (functions.c functionsExtractLibMetaData).
func (s *Snapshot) function(start int64) bool {
	t := s.r.String()
	line, _, _ := bytes.Cut(t.Bytes, []byte("\n"))
	s.key = s.key[:0]
	for word := range bytes.FieldsSeq(line) {
		if name, ok := bytes.CutPrefix(word, []byte("name=")); ok {
			s.key = append(s.key, name...)
		}
	}
	s.entry = Entry{DB: -1, Key: s.key, ExpireAt: rdb.None, Value: Value{Type: typeFunction, Sum: s.d.hash(t)}}
	s.entry.Size = s.r.Offset() - start
	return s.r.Err() == nil && s.d.functions
}
