package rdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Kind says what a span holds.
type Kind uint8

// The kinds of spans. Every byte of a snapshot is in one of them.
const (
	KindHeader Kind = iota + 1 // the magic and the version
	KindRun                    // elements that nobody asked to see one by one
	KindOpcode                 // an element that is no key: aux, select-db, functions, ...
	KindKey                    // a key: its attributes, type, name and value, or the value's beginning
	KindRest                   // more of the span before
	KindEnd                    // OpcodeEOF and the checksum
)

// Span is a piece of a snapshot. It is valid, with all that it points to, until
// the Scanner is used again, and its Bytes are not to be changed.
type Span struct {
	Kind   Kind
	Opcode Opcode // of KindOpcode
	Type   Type   // of KindKey
	Offset int64  // of Bytes in the snapshot
	Bytes  []byte // exactly as they came
	More   bool   // the element is larger than the buffer and goes on in the next span

	// Of KindKey:
	DB         int
	Key        []byte
	Attributes Attributes
	typeAt     int // in Bytes
	valueAt    int
}

// None is an attribute that a key does not have.
const None = -1

// Attributes is what opcodes before a key say of it, None if they do not.
type Attributes struct {
	ExpireAt int64 // milliseconds since 1970
	Idle     int64 // seconds since the key was used last (LRU)
	Freq     int   // 0 to 255, how often it was used, logarithmic (LFU)
	Metadata bool  // modules have attached data to it
}

// Value is the part of Bytes that belongs to the value of a key.
func (s *Span) Value() []byte { return s.Bytes[s.valueAt:] }

// Aux is the name and the value of an OpcodeAux element that is not cut short.
func (s *Span) Aux() (name, value []byte, err error) {
	var d Decoder
	d.open(s, s.Bytes, 1)
	name, value = d.held(0), d.held(1)
	return name, value, d.r.err
}

// Function is the source of the library in an OpcodeFunction2 element that is
// not cut short.
func (s *Span) Function() ([]byte, error) {
	var d Decoder
	d.open(s, s.Bytes, 1)
	source := d.held(0)
	return source, d.r.err
}

// open has the decoder read strings of a span from place at on.
func (d *Decoder) open(s *Span, b []byte, at int) {
	d.r.Reset(b)
	d.r.at, d.r.base = at, s.Offset
}

// LibraryName is the name that a function library's first line gives it, "" if
// it is not found: "#!lua name=mylib".
func (s *Span) LibraryName() string {
	source, err := s.Function()
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(source, []byte("\n"))
	for word := range bytes.FieldsSeq(line) {
		if name, ok := bytes.CutPrefix(word, []byte("name=")); ok {
			return string(name)
		}
	}
	return ""
}

// ModuleID is whose data it is in a key of TypeModule2 or an OpcodeModuleAux element.
func (s *Span) ModuleID() ModuleID {
	b := s.Bytes[1:]
	if s.Kind == KindKey {
		b = s.Value()
	}
	id, _, _ := length(b) // the walker has been through it
	return ModuleID(id)
}

// EmptyModuleAux tells of an OpcodeModuleAux element that says no more than that the module
// is there, and when it was asked (rdb.c rdbSaveSingleModuleAux).
func (s *Span) EmptyModuleAux() bool {
	if s.More {
		return false
	}
	rest := s.Bytes[1:]
	for range 3 { // the module, the type of what follows, and when
		_, n, _ := length(rest) // the walker has been through it
		rest = rest[n:]
	}
	return len(rest) == 1 // RDB_MODULE_OPCODE_EOF
}

// readKey reads what comes before a key's value. The walker has been through it,
// so its layout is right; only the key's name can still be wrong. If that is not in
// Bytes as it is, it is d's.
func (s *Span) readKey(d *Decoder) error {
	s.Attributes = Attributes{ExpireAt: None, Idle: None, Freq: None}
	at := 0
	for {
		code, rest := s.Bytes[at], s.Bytes[at+1:]
		size := 0
		switch Opcode(code) {
		case OpcodeExpireTimeMS:
			s.Attributes.ExpireAt = int64(binary.LittleEndian.Uint64(rest))
			size = 8
		case OpcodeExpireTime:
			s.Attributes.ExpireAt = 1000 * int64(int32(binary.LittleEndian.Uint32(rest)))
			size = 4
		case OpcodeIdle:
			idle, n, err := length(rest)
			if err != nil {
				return err
			}
			s.Attributes.Idle = int64(min(idle, 1<<62))
			size = n
		case OpcodeFreq:
			s.Attributes.Freq = int(rest[0])
			size = 1
		case OpcodeKeyMeta:
			s.Attributes.Metadata = true
			var w walker
			w.beginPart(layoutMetadata)
			n, done, err := w.walk(rest)
			if err != nil || !done {
				return fmt.Errorf("a key's metadata: %w", err)
			}
			size = n
		default:
			s.typeAt = at
			if head, _, _ := stringExtent(rest); rest[0]>>6 != lenEncVal {
				s.Key = s.Bytes[at+1+head : s.valueAt]
				return nil
			}
			d.open(s, s.Bytes[:s.valueAt], at+1)
			s.Key = d.held(0)
			return d.r.err
		}
		at += 1 + size
	}
}
